"""Plan: everything of a run that is decided before it begins, drawn from its seed.

The rule.  Most runs are small and most numbers come from short lists, on a grid: what matters happens when
two things fall together, and numbers from a wide range never do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from random import Random
from typing import Any

from muxado_py import Config

__all__ = (
    "LOOPS",
    "PROXIES",
    "TRANSPORTS",
    "WIRES",
    "HalfPlan",
    "PathPlan",
    "Plan",
    "ProxyPlan",
    "SidePlan",
    "draw",
)

WIRES = ("muxado", "muxado1", "yamux", "smux2", "smux1")
LOOPS = ("asyncio", "trio")
PROXIES = ("connect", "socks5")
TRANSPORTS = (*PROXIES, "tcp", "pipes", "tls", "ws", "wss")
"""``pipes`` are those of a command, with what it has started at their other ends; ``connect`` and ``socks5`` are ``tcp``
through a proxy."""

TYPE = 7


@dataclass
class PathPlan:
    """One direction of the network."""

    send_buffer: int = 65536
    receive_buffer: int = 65536
    delay: float = 0.0
    rate: float = math.inf
    """Bytes per second."""
    segment: int = 65536
    stalls: list[tuple[float, float]] = field(default_factory=list)
    """When, and for how long, nothing moves."""
    blind: bool = False
    """Nobody can ask the kernel, as on systems other than Linux."""
    cut_at: int | None = None
    """After so many bytes."""
    cut_after: float | None = None
    """Or after so many seconds."""
    cut_kind: str = "reset"
    """``reset``: both ends get a RST.  ``mute``: the rest is lost, though acknowledged.  ``dark``: the
    rest is lost in both directions, and nothing is acknowledged."""


@dataclass
class HalfPlan:
    """What one application does with one stream."""

    start: float = 0.0
    sends: int = 0
    piece: int = 1000
    send_pause: float = 0.0
    nowait: bool = False
    end: str = "close"
    """``close``, ``eof`` (then close when all is read), ``late close`` (when all is read), ``reset``, ``error``
    (the block is left by an exception), ``cancel`` (the last send is cancelled, then close), ``none``."""
    max_bytes: int = 65536
    read_pause: float = 0.0
    read_at: float = 0.0
    stop_at: int | None = None
    stop: str = "close"
    """At so many bytes read: ``close``, ``reset``, ``rest`` (for five seconds), ``never`` read again."""
    impatient: float | None = None
    """Each ``receive`` is cancelled after so many seconds, and called again."""
    meddles: bool = False
    """Another task sets callbacks while this one waits."""


@dataclass
class SidePlan:
    """One side."""

    config: Config = field(default_factory=Config)
    anyio_link: bool = False
    opens: list[HalfPlan] = field(default_factory=list)
    handles: list[HalfPlan] = field(default_factory=list)
    serves: bool = False
    accept_pause: float = 0.0
    spells: list[tuple[float, int, float]] = field(default_factory=list)
    """Sleep so long, so many times, and then be busy for so long."""
    pings: list[float] = field(default_factory=list)
    ending: str = "leave"
    """``leave``, ``aclose``, ``drain``, ``abort``, ``error``, ``cancel``, ``go away`` or ``wait`` for the other."""
    ends_at: float | None = None
    """None: when its streams are done."""
    rests: float = 0.0
    """Seconds between the one and the other."""
    rogue: bool = False
    """It sends a byte behind the end of a stream."""


@dataclass
class ProxyPlan:
    """A proxy between the sides."""

    speaks: str
    beside: int
    """The number of the side that it stands beside; the plan's paths are those to the other."""
    piece: int = 1000
    """Bytes of an answer that it says at a time."""
    pause: float = 0.0
    """Seconds between two pieces."""
    waits: int = 0
    """How many heads of an answer say that it goes on."""
    fields: int = 0
    """Of the last head; the kind of address, in SOCKS5."""
    wants_password: bool = False
    dials_in: float = 0.0
    """Seconds until it has its connection with the host."""
    answers_in: float = 0.0
    """Seconds from then until it says so."""
    buffer: int = 65536
    """Bytes that it reads at a time."""
    half_closes: bool = True
    """It passes on the end of one direction; otherwise that ends both."""
    stalls: list[tuple[float, float]] = field(default_factory=list)
    """When, and for how long, it stands still."""
    dies_at: int | None = None
    """After so many bytes that it has said or passed on."""
    resets: bool = False
    """It leaves a RST when it dies."""


@dataclass
class Plan:
    """One run."""

    seed: int
    wire: str
    loop: str
    sides: tuple[SidePlan, SidePlan]
    paths: tuple[PathPlan, PathPlan]
    foreign: bool
    """Neither side knows the other for a muxado_py."""
    transport: str = "tcp"
    proxy: ProxyPlan | None = None
    plain: bool = False
    """The program began with ``asyncio.run``, so that callbacks do not tell what library they run in."""
    patience: float = 60.0
    """Seconds after which a side ends, whatever its streams do."""
    limit: float = 400.0
    """Seconds after which nobody may wait any more."""

    @property
    def has_tls(self) -> bool:
        """Whether there is TLS in it."""
        return self.transport in ("tls", "wss")

    @property
    def has_websocket(self) -> bool:
        """Whether there is a websocket in it."""
        return self.transport in ("ws", "wss")

    @property
    def is_whole(self) -> bool:
        """Whether the network loses nothing."""
        if self.proxy is not None and self.proxy.dies_at is not None:
            return False
        return all(path.cut_at is None and path.cut_after is None for path in self.paths)

    @property
    def stalled(self) -> float:
        """Seconds in which something on the way stands still."""
        stalling = [path.stalls for path in self.paths]
        if self.proxy is not None:
            stalling.append(self.proxy.stalls)
        return sum(length for stalls in stalling for _, length in stalls)

    def rate(self, side: int) -> float:
        """Bytes per second that a side can send, by its path and the buffers of the kernels."""
        path, back = self.paths[side], self.paths[1 - side]
        window = min(path.receive_buffer, path.send_buffer)
        # A segment is on its way as long as it is written, carried and acknowledged, or its reader makes room.
        segment = min(path.segment, window) / path.rate
        round_trip = segment + path.delay + max(path.delay, back.delay)
        return min(path.rate, window / (round_trip + 1e-6))

    @property
    def slowness(self) -> float:
        """Seconds that everything may take that has nothing to do with the sessions."""
        volume = sum(one.sends for side in self.sides for one in (*side.opens, *side.handles))
        rate = min(self.rate(0), self.rate(1))
        spells = sum(spell[2] for side in self.sides for spell in side.spells)
        return (
            self.stalled
            + spells
            + (volume + 300_000) / rate
            + 20 * max(p.delay for p in self.paths)
        )


def draw(
    seed: int, wire: str | None = None, loop: str | None = None, transport: str | None = None
) -> Plan:
    """The plan of a seed; a wire, a loop or a transport that is given is taken instead of what was drawn."""
    rng = Random(seed)
    drawn_wire, drawn_loop = rng.choice(WIRES), rng.choice(LOOPS)
    wire, loop = wire or drawn_wire, loop or drawn_loop
    foreign = rng.random() < 0.25
    typed = rng.random() < (0.6 if foreign else 0.1)
    paths = _path(rng), _path(rng)
    paths[0].blind = paths[1].blind = rng.random() < 0.15
    if rng.random() < 0.12:
        _cut(rng, paths[rng.randrange(2)], foreign and not typed)
    shared = _shared_settings(rng, wire, typed)
    sides = _side(rng, shared), _side(rng, shared)
    if rng.random() < 0.06 and wire in ("muxado", "muxado1", "yamux"):
        sides[rng.randrange(2)].rogue = True
    if rng.random() < 0.7:
        sides[rng.randrange(2)].ending = "wait"
    focus = rng.random()
    if focus < 0.2:
        _close_under_load(rng, sides, paths)
    elif focus < 0.23 and (typed or wire != "muxado"):
        _go_away_and_die(rng, sides, paths[rng.randrange(2)])
    _keep_small(sides, paths)
    drawn_transport = rng.choices(TRANSPORTS, (3, 3, 66, 6, 8, 8, 6))[0]
    transport = transport or drawn_transport
    if transport == "pipes":
        paths[0].blind = paths[1].blind = True
    plain = rng.random() < 0.3
    proxy = _proxy(Random(f"proxy {seed}"), transport, paths) if transport in PROXIES else None
    return Plan(
        seed, wire, loop, sides, paths, foreign, transport=transport, proxy=proxy, plain=plain
    )


def _proxy(rng: Random, speaks: str, paths: tuple[PathPlan, PathPlan]) -> ProxyPlan:
    for path in paths:
        if path.cut_at is not None and rng.random() < 0.3:
            path.cut_at = rng.randrange(1, 150)  # while it is asked, or answers
    dies = [None] * 18 + [rng.randrange(1, 100), rng.randrange(1, 5000)]
    stalls = []
    if rng.random() < 0.2:
        stalls.append((rng.choice([0.0, 0.1, 0.5, 1.0, 2.0]), rng.choice([0.1, 0.5, 1.0, 3.0])))
    return ProxyPlan(
        speaks,
        beside=rng.randrange(2),
        piece=rng.choice([1, 2, rng.randrange(1, 60), 1000, 1000]),
        pause=rng.choice([0.0, 0.0, 0.001, 0.01]),
        waits=rng.choice([0, 0, 0, 1, 3]),
        fields=rng.choice([0, 0, 1, 2, 20]),
        wants_password=rng.random() < 0.3,
        dials_in=rng.choice([0.0, 0.0, 0.001, 0.3]),
        answers_in=rng.choice([0.0, 0.0, 0.01, 0.5, 2.0]),
        buffer=rng.choice([1460, 4096, 65536]),
        half_closes=rng.random() < 0.6,
        stalls=stalls,
        dies_at=rng.choice(dies),
        resets=rng.random() < 0.5,
    )


def _close_under_load(
    rng: Random, sides: tuple[SidePlan, SidePlan], paths: tuple[PathPlan, PathPlan]
) -> None:
    """One side sends and goes, as one does; the other is busy, and reads all."""
    number = rng.randrange(2)
    leaver, reader, path = sides[number], sides[1 - number], paths[number]
    leaver.opens = leaver.opens or [leaver.handles[0]]
    path.receive_buffer = min(path.receive_buffer, rng.choice([512, 8192, 8192, 65536]))
    leaver.ending, leaver.ends_at, leaver.rests = (
        rng.choice(["leave", "aclose", "drain"]),
        None,
        0.0,
    )
    reader.ending, reader.ends_at = "wait", None
    reader.spells = [
        (rng.choice([0.0, 0.002, path.delay, 0.1]), 1, rng.choice([0.0, 0.3, 0.6, 1.5, 3.0]))
    ]
    for one in (*leaver.opens, *leaver.handles, *reader.opens, *reader.handles):
        one.sends = rng.choice([one.sends, 20_000, 60_000, 150_000])
        one.stop_at, one.read_pause, one.meddles, one.send_pause = None, 0.0, False, 0.0
        one.end = one.end if one.end == "eof" else "close"
    for one in (*leaver.opens, *leaver.handles):
        one.start, one.read_at, one.nowait = 0.0, 0.0, False
    reader.pings = [rng.choice([0.01, 0.1, 0.3, 1.0])]  # what makes it write when it wakes
    for one in (*reader.opens, *reader.handles):
        one.sends = rng.choice([0, 0, one.sends])
        one.end = "late close"


def _go_away_and_die(rng: Random, sides: tuple[SidePlan, SidePlan], path: PathPlan) -> None:
    """One side goes away while streams are open, and then one of them is not heard of any more."""
    for one in sides:
        one.ending, one.ends_at = "wait", None
        for half in (*one.opens, *one.handles):
            half.end, half.stop_at, half.meddles = "late close", None, False
    leaver = rng.choice(sides)
    leaver.ending, leaver.ends_at = "go away", rng.choice([0.1, 0.5])
    path.cut_after, path.cut_kind = rng.choice([0.3, 1.0, 5.0]), rng.choice(["mute", "dark"])


def _path(rng: Random) -> PathPlan:
    sizes = [512, 4096, 16384, 65536, 262144]
    rate = rng.choice([math.inf] * 6 + [5_000.0, 50_000.0, 1e6])
    stalls = []
    if rng.random() < 0.2:
        stalls.append((rng.choice([0.0, 0.1, 0.5, 1.0, 2.0]), rng.choice([0.1, 0.5, 1.0, 3.0])))
    return PathPlan(
        send_buffer=rng.choice(sizes),
        receive_buffer=rng.choice(sizes),
        delay=rng.choice([0.0, 0.0, 0.0001, 0.001, 0.02, 0.1, 0.3]),
        rate=rate,
        segment=rng.choice([100, 1460, 16384, 65536]),
        stalls=stalls,
    )


def _cut(rng: Random, path: PathPlan, deaf: bool) -> None:
    path.cut_at = rng.choice(
        [rng.randrange(60, 400), rng.randrange(60, 5000), rng.randrange(60, 60000)]
    )
    path.cut_kind = rng.choice(["reset"] if deaf else ["reset", "mute", "dark"])


def _shared_settings(rng: Random, wire: str, typed: bool) -> dict[str, Any]:
    window = rng.choice([256 * 1024] * 3 + [1000, 20_000])
    fixed = wire != "muxado"
    # Both have to agree on these, or know each other's.
    interval = rng.choice([0.2, 0.5, 2.0, 10.0])
    return {
        "wire": wire,
        "typed_streams": typed and wire != "muxado1",
        "initial_window": 256 * 1024 if fixed else window,
        "stream_window": 256 * 1024 if fixed else window,
        "half_close": rng.random() < 0.5,
        "heartbeat_interval": interval,
        "heartbeat_timeout": rng.choice([0.5, 1.0, 5.0, 15.0]),
        "close_timeout": rng.choice([0.5, 2.0, 5.0, 5.0]),
    }


def _side(rng: Random, shared: dict[str, Any]) -> SidePlan:
    config = Config(
        **shared,
        write_timeout=rng.choice([0.5, 2.0, 60.0, 60.0]),
        probe_interval=rng.choice([0.1, 0.5, 2.0, 2.0]),
        send_buffer=rng.choice([1, 1000, 128 * 1024, 128 * 1024]),
        max_frame=rng.choice([1024, 16384, 65536]),
        session_window=rng.choice([2**26] * 4 + [2**16 if shared["wire"] == "smux1" else 2**26]),
        scheduler=rng.choice(["priority", "priority", "round-robin", "fifo"]),
        cap_in_flight=rng.random() < 0.3,
        stay_awake=rng.choice([0.0, 0.0, 0.0001]),
    )
    step = min(config.heartbeat_interval or 1.0, config.heartbeat_timeout, config.probe_interval)
    spells = [(_moment(rng, step), rng.randint(1, 4), rng.choice([0.05, 0.3, 0.6, 1.5, 3.0]))]
    return SidePlan(
        config=config,
        anyio_link=rng.random() < 0.4,
        opens=[_half(rng, shared, True) for _ in range(rng.choice([0, 1, 1, 2, 2, 3, 5]))],
        handles=[_half(rng, shared, False) for _ in range(3)],
        serves=rng.random() < 0.4,
        accept_pause=rng.choice([0.0, 0.0, 0.3]),
        spells=spells if rng.random() < 0.3 else [],
        pings=[_moment(rng, step) for _ in range(rng.choice([0, 0, 1, 3]))],
        ending=rng.choice(
            ["leave"] * 4 + ["aclose", "drain", "drain", "abort", "error", "cancel", "go away"]
        ),
        ends_at=rng.choice([None] * 4 + [0.0, 0.5, 2.0]),
        rests=rng.choice([0.0, 0.0, 0.0, 0.3, 5.0, 45.0]),
    )


def _keep_small(sides: tuple[SidePlan, SidePlan], paths: tuple[PathPlan, PathPlan]) -> None:
    """Few segments, reads and sends: more runs find more."""
    halves = [half for side in sides for half in (*side.opens, *side.handles)]
    largest = max(half.sends for half in halves)
    for path in paths:
        path.segment = max(path.segment, largest // 60)
        path.receive_buffer = max(path.receive_buffer, largest // 30)
        path.send_buffer = max(path.send_buffer, largest // 30)
    for side in sides:
        for half in (*side.opens, *side.handles):
            half.nowait = half.nowait and side.config.send_buffer > 100
    for half in halves:
        half.piece = max(half.piece, half.sends // 15)
        half.max_bytes = max(half.max_bytes, largest // 40)


def _moment(rng: Random, step: float) -> float:
    return rng.choice([0.0, 0.001, 0.1, 0.5, 1.0, 2.0, step, step, 3 * step])


def _half(rng: Random, shared: dict[str, Any], opens: bool) -> HalfPlan:
    size = rng.choice([0, 1, 100, 1000, 1000, 5000, 5000, 5000, 20_000, 20_000, 60_000, 150_000])
    ends = ["close"] * 5 + ["late close"] * 3 + ["reset", "error", "cancel", "none"]
    if shared["half_close"] or not shared["wire"].startswith("smux"):
        ends += ["eof"] * 3
    return HalfPlan(
        start=rng.choice([0.0, 0.0, 0.1, 0.5]) if opens else 0.0,
        sends=size,
        piece=rng.choice([100, 5000, 5000, 65536, 1 << 20])
        if size < 20_000
        else rng.choice([8000, 65536, 1 << 20]),
        send_pause=rng.choice([0.0] * 6 + [0.1]),
        nowait=rng.random() < 0.1,
        end=rng.choice(ends),
        max_bytes=rng.choice([1000, 65536, 65536]),
        read_pause=rng.choice([0.0] * 7 + [0.05]),
        read_at=rng.choice([0.0] * 5 + [0.5, 2.0]),
        stop_at=rng.choice([None] * 6 + [0, 1, 1000]),
        stop=rng.choice(["close", "reset", "rest", "rest", "never"]),
        impatient=rng.choice([None] * 8 + [0.01, 0.1]),
        meddles=rng.random() < 0.04,
    )
