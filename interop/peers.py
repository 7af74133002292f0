"""The peers: every published program spoken to, what it can do, and the faults it has.

What it is.  :data:`PEERS` is the table that the suite's cases run through.  A case says with
``@pytest.mark.needs(...)`` what a peer must be able to do for the case to make sense; a peer that
can do it and does it wrong has the case in its ``faults``, and is expected to fail it, strictly: a
release that mends the fault fails the suite until the table says so.

The rule.  An ability is what the *library's interface or wire* has.  What it has and does badly is a
fault, with the reason; nothing is skipped.

The trap.  ``wire`` is what muxado_py is configured with; smux is one library with two wires.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .workshop import DebianSource, GoSource, RustSource, Source

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("MUXADO_GO", "PEERS", "Peer")


@dataclass(frozen=True, slots=True)
class Peer:
    """One library in one version, speaking one wire."""

    name: str
    wire: str
    source: Source
    can: frozenset[str]
    """Its abilities:

    - ``half_close``: has a call that ends one direction
    - ``hear_half_close``: its wire can say that one direction ended, and the other goes on
    - ``codes``: tells its application the code of a reset
    - ``reset``: its wire can end a stream with an error
    - ``refuse``: answers what overflows its backlog; the others stop reading
    - ``stream_window``: flow control for each stream
    - ``beat``: sends heartbeats of its own that an interval can be given to
    - ``ping``: measures the round trip when told
    - ``go_away``: can stop taking streams and go on
    - ``goodbye``: says goodbye before it closes a session
    - ``http``: gives streams that Go's ``net/http`` takes
    """
    flags: tuple[str, ...] = ()
    """What its program is always given."""
    roomy: tuple[str, ...] = ()
    """What its program is given to take a thousand streams at once."""
    beating: tuple[str, ...] = ()
    """What its program is given to send heartbeats every 100 ms."""
    lingering: tuple[str, ...] = ()
    """What its program is given to reset a closed stream that the other side does not close."""
    half_closing: Mapping[str, Any] = field(default_factory=dict)
    """The fields of ``Config`` with which our half close is one on its wire."""
    heartbeat_streams: int = 0
    """How many streams it keeps open for heartbeats, unasked."""
    one_request: bool = False
    """Whether ``net/http`` may take one request only from each of its streams."""
    typed_beats: bool = False
    """Whether its heartbeats need a session with stream types."""
    faults: Mapping[str, str] = field(default_factory=dict)
    """The cases it fails, by the name of the test function, and why."""

    def settings(self, **more: Any) -> dict[str, Any]:
        """The fields of ``muxado_py.Config`` for a session with it."""
        return {"wire": self.wire, **more}


COMMON = frozenset({"half_close", "hear_half_close", "reset", "stream_window", "beat"})

MUXADO = COMMON | {"codes", "refuse", "goodbye", "http"}

MUXADO_GO = {
    version: Peer(
        f"golang.ngrok.com/muxado/v2 {version}",
        wire="muxado",
        source=GoSource("muxado", f"golang.ngrok.com/muxado/v2@{version}"),
        can=MUXADO,
        roomy=("-backlog", "1000"),
        beating=("-typed", "-keepalive", "100ms"),
        typed_beats=True,
    )
    for version in ("v2.0.2", "v2.0.1")
}
"""v2.0.2 is the newest.  v2.0.1 swallows eight bytes of what follows a GOAWAY, which programs in the
field still do."""

MUXADO_HEAD = replace(
    MUXADO_GO["v2.0.1"],
    name="inconshreveable/muxado v2 head",
    source=GoSource(
        "muxado",
        "github.com/inconshreveable/muxado@v0.0.0-20160802230925-fc182d90f26e",
        tags="inconshreveable",
    ),
)

DEAF_TO_RESETS = (
    "a RST wakes neither a read nor a write of the crate that waits: it marks the stream's sink, and "
    "closes no channel (src/stream_manager.rs, send_to_stream)"
)

DEAF_AFTER_GOAWAY = (
    "a GOAWAY without an error ends the crate's session (src/session.rs, handle_frame)"
)
MUTE_AFTER_GOAWAY = (
    "after its own GOAWAY the crate writes nothing, and leaves the transport open until the session "
    "and all its streams are dropped (src/session.rs, Writer::run)"
)

MUXADO_RUST = Peer(
    "crate muxado 0.5.4",
    wire="muxado",
    source=RustSource(),
    can=COMMON | {"codes", "goodbye"},
    # A session of the crate ends when a 513th stream comes.
    roomy=("-backlog", "1000", "-streams", "2000"),
    beating=("-typed", "100"),
    typed_beats=True,
    faults={
        "test_our_reset_ends_the_stream_for_the_peer": DEAF_TO_RESETS,
        "test_a_blocked_peer_wakes_up_to_our_reset": DEAF_TO_RESETS,
        "test_a_peer_with_a_full_window_wakes_up_to_our_close": DEAF_TO_RESETS,
        "test_what_overflows_the_backlog_of_python_ends_and_never_reaches_its_application": (
            DEAF_TO_RESETS
        ),
        "test_a_drain_lets_the_peer_finish_what_it_has_open": DEAF_AFTER_GOAWAY,
        "test_what_the_peer_opens_after_our_goaway_reaches_no_application": DEAF_AFTER_GOAWAY,
        "test_the_close_of_the_peer_is_no_end_of_file": MUTE_AFTER_GOAWAY,
    },
)

MUXADO_2014 = Peer(
    "inconshreveable/muxado 2014",
    wire="muxado1",
    source=DebianSource(
        "muxado1",
        "github.com/inconshreveable/muxado",
        "golang-github-inconshreveable-muxado-dev=0.0~git20140312.0.f693c7e-2.1",
        "b4d8573f62f0ed710c05e6e2b9ab37dd5a0e3ad0869e1b87c5de8572de007a02",
    ),
    can=COMMON | {"go_away", "goodbye", "http"},
    beating=("-keepalive", "100ms"),
    heartbeat_streams=1,
    # net/http ends its read between two requests by a deadline, and a read that a deadline ended here
    # stays registered: the first byte of what comes next goes to it (proto/buffer/inbound.go).  That is
    # a race, which no strict expectation can hold.
    one_request=True,
)

DEAF_AFTER_CLOSE = {
    "v0.1.1": dict.fromkeys(
        (
            "test_the_peer_finishes_and_reads_the_answer",
            "test_long_answers_after_a_half_close_are_whole",
        ),
        "Read says EOF at once when this side has called Close (stream.go); v0.1.2 mended it",
    )
}

YAMUX = [
    Peer(
        f"hashicorp/yamux {version}",
        wire="yamux",
        source=GoSource("yamux", f"github.com/hashicorp/yamux@{version}"),
        can=COMMON | {"refuse", "ping", "go_away", "http"},
        roomy=("-backlog", "1000"),
        beating=("-keepalive", "100ms"),
        lingering=("-linger", "200ms"),
        faults=DEAF_AFTER_CLOSE.get(version, {}),
    )
    for version in ("v0.1.2", "v0.1.1")
]

FIN_IS_THE_END = {
    "v1.5.53": {
        "test_python_finishes_and_reads_the_answer": (
            "from v1.5.28 to v1.5.53 Write fails when a FIN has come (S-9): no half close of ours"
        )
    }
}

SMUX = [
    Peer(
        f"xtaci/smux {version}, wire smux{wire}",
        wire=f"smux{wire}",
        source=GoSource("smux", f"github.com/xtaci/smux@{version}"),
        can=frozenset({"hear_half_close", "beat", "http"} | windows | half_close),
        flags=("-version", str(wire)),
        half_closing={"half_close": True},
        faults=FIN_IS_THE_END.get(version, {}),
        beating=("-keepalive", "100ms", "-patience", "1500ms"),
    )
    for version, half_close in (
        ("v1.5.58", {"half_close"}),
        ("v1.5.53", set[str]()),
        ("v1.5.24", set[str]()),
    )
    for wire, windows in ((1, set[str]()), (2, {"stream_window"}))
]

PEERS = (*MUXADO_GO.values(), MUXADO_HEAD, MUXADO_RUST, *YAMUX, *SMUX, MUXADO_2014)
