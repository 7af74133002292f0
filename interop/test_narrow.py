"""The narrow part of the benchmark: its figures, its refusals, its two ends, and a path that is really laid.

Nothing here looks at how long anything took, but that no message overtakes the path.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic_ns
from typing import TYPE_CHECKING

import anyio
import pytest

from .bench import distribution, latency, narrow
from .bench.__main__ import main
from .bench.actors import narrow as actor
from .bench.actors.payload import BLOCKS
from .bench.figures import RefusedError
from .bench.latency import Results, Run, jain, no_worse, percentile, quotient, rate
from .bench.pair import FailedRunError
from .bench.path import PROGRAM, Line, PathError, lay
from .workshop import ToolchainError, Workshop

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .bench.latency import Outcome

LINE = Line("narrow", 50e6, 0.040, 250_000)
FAILED = FailedRunError("1 errors of the receiver, the first: DifferentBytesError: message 7")


def run(latency: float, nbytes: int = 1_000_000) -> Run:
    """One second; each message took as long."""
    return Run((latency,) * 100, (nbytes,), 1.0)


# Figures


def test_percentiles_are_of_one_runs_messages() -> None:
    one = Run(tuple(it / 100 for it in range(101)), (), 1.0)
    assert [percentile(it)(one) for it in (50, 90, 99)] == pytest.approx([0.5, 0.9, 0.99])


def test_the_rate_is_of_all_bulk_streams() -> None:
    assert rate(Run((), (1_000_000, 250_000), 2.0)) == 5e6


def test_a_quotient_is_taken_inside_each_round() -> None:
    """The second round was slow for both: medians would say 1, each round says 2."""
    runs: dict[str, list[Outcome]] = {
        "ours": [run(0.2), run(0.8), run(0.2)],
        "theirs": [run(0.1), run(0.4), run(0.1)],
    }
    found = quotient(runs, "ours", "theirs", percentile(50))
    assert list(found) == pytest.approx([2.0, 2.0, 2.0])


def test_jains_index_is_one_for_shares_like_weights_and_one_of_n_for_all_to_one() -> None:
    assert jain((10, 20, 40), (1, 2, 4)) == pytest.approx(1)
    assert jain((10, 0, 0, 0), (1, 1, 1, 1)) == pytest.approx(0.25)
    assert jain((10, 10), (1, 2)) < 0.95


@pytest.mark.parametrize(
    "runs",
    [
        pytest.param({"ours": [run(1), FAILED], "theirs": [run(1), run(1)]}, id="ours-failed"),
        pytest.param({"ours": [run(1), run(1)], "theirs": [run(1), FAILED]}, id="theirs-failed"),
        pytest.param({"ours": [], "theirs": []}, id="nobody-ran"),
        pytest.param({"ours": [Run((), (), 1.0)], "theirs": [run(1)]}, id="no-messages"),
    ],
)
def test_no_quotient_rests_on_a_failed_run(runs: dict[str, list[Outcome]]) -> None:
    with pytest.raises(RefusedError):
        quotient(runs, "ours", "theirs", percentile(50))


def test_nothing_is_no_divisor_and_no_share() -> None:
    with pytest.raises(RefusedError):
        quotient({"a": [run(1)], "b": [run(1, 0)]}, "a", "b", rate)
    with pytest.raises(RefusedError):
        jain((0, 0), (1, 2))


# The report


def results(failed: Iterable[str] = ()) -> Results:
    """Of one line, two rounds, in which some fail in the second."""
    felt: dict[str, list[Outcome]] = {
        narrow.FIFO: [run(0.2, 4_000_000), run(0.2, 4_000_000)],
        "priority": [replace(run(0.025, 3_000_000), sent_again=0.03)] * 2,
        narrow.SEPARATE: [run(0.05), run(0.05)],
    }
    for name in failed:
        felt[name][1] = FAILED
    weights: list[Outcome] = [Run((), (10, 20), 1.0)]
    alone: dict[str, list[Outcome]] = {latency.RAW: [run(1)], "muxado_py": [run(1, 800_000)]}
    return Results({LINE: felt}, narrow.FIFO, narrow.SEPARATE, (1, 2), weights, narrow.LONG, alone)


def test_the_report_names_the_link_and_compares_with_fifo_and_with_the_separate_connection() -> (
    None
):
    said = latency.text(results())
    assert "two network namespaces" in said
    assert "hogs" not in said
    assert "50 Mbit/s, 40 ms round trip, a queue of 250 KB, packets of 1500, cubic" in said
    assert "| priority | 25.0 | 25.0 | 25.0 | 0.50 | 0.50 | 24.0 | 0.75 | 2 and 2 | 3.00 |" in said
    assert "muxado_py: 6.40 Mbit/s, 0.80 of a raw socket's" in said
    assert "Jain's index of share over weight 1.0000" in said
    assert latency.failures(results()) == 0
    facts = json.loads(json.dumps(latency.facts(results())))
    assert facts["lines"]["narrow"]["runs"]["priority"][0]["p99"] == 0.025


def test_the_report_says_who_took_the_processor() -> None:
    said = latency.text(replace(results(), hogs=2))
    assert "beside 2 processor hogs" in said


def test_the_report_compares_what_one_transport_adds_to_another() -> None:
    said = latency.text(replace(results(), compared=("priority", narrow.SEPARATE)))
    assert f"p50 of 'priority' in that of {narrow.SEPARATE!r}: 0.50" in said


def test_rounds_are_counted_in_which_a_message_was_no_later_than_on_a_connection_of_its_own() -> (
    None
):
    runs: dict[str, list[Outcome]] = {
        "ours": [run(0.1), run(0.3), run(0.2)],
        "theirs": [run(0.2), run(0.2), run(0.2)],
    }
    assert no_worse(runs, "ours", "theirs", percentile(50)) == 2


def test_a_failed_run_is_named_and_takes_every_ratio_with_it() -> None:
    found = results(failed=[narrow.SEPARATE])
    said = latency.text(found)
    assert f"{narrow.SEPARATE} failed in round 2: 1 errors of the receiver" in said
    row = "| priority | 25.0 | 25.0 | 25.0 | refused | refused | 24.0 | 0.75 | refused | 3.00 |"
    assert row in said
    assert latency.failures(found) == 1
    assert "failed" in latency.facts(found)["lines"]["narrow"]["runs"][narrow.SEPARATE][1]


def test_the_plot_has_a_strip_for_each_that_ran_and_a_word_for_each_that_failed() -> None:
    svg = distribution.strips(results(failed=[narrow.FIFO]), "today <here>")
    texts = [it.text for it in ET.fromstring(svg).iter() if it.tag.endswith("text")]
    boxes = [it for it in ET.fromstring(svg).iter() if it.tag.endswith("rect")]
    assert len(boxes) == 3  # the background and two strips
    assert {"failed", "priority", "p50 25.0, p99 25.0", "50", "today <here>"} <= set(texts)


def test_where_there_can_be_no_path_the_part_says_why_and_the_command_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def program(*_: object) -> Path:
        raise ToolchainError("no `go`")

    monkeypatch.setattr(Workshop, "program", program)
    plot = tmp_path / "bars.svg"
    assert main(["--quick", "--only", "narrow", "--plot", str(plot)]) == 0
    assert "narrow links took no part: no `go`" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


# Its two ends


class Played:
    """A stream that says what it is told, and then ends."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)
        self.answer = b""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if not self._pieces:
            raise anyio.EndOfStream
        piece, self._pieces[0] = self._pieces[0][:max_bytes], self._pieces[0][max_bytes:]
        if not self._pieces[0]:
            self._pieces.pop(0)
        return piece

    async def send(self, item: bytes) -> None:
        self.answer += item

    async def send_eof(self) -> None: ...

    async def aclose(self) -> None: ...


def messages(count: int) -> bytes:
    stamps = (monotonic_ns().to_bytes(8, "big") for _ in range(count))
    return b"".join(actor.message(number, stamp) for number, stamp in enumerate(stamps))


@pytest.mark.anyio
async def test_the_server_times_messages_in_any_pieces_and_counts_bulk_by_stream() -> None:
    server = actor.Server()
    await server.expect(begin=0.0, end=float("inf"))
    said = bytes([actor.MESSAGES]) + messages(10)
    small, large = Played(said[:100], said[100:]), Played(b"\x02", BLOCKS[2], BLOCKS[3])
    await server.answer(small)
    await server.answer(large)
    found = await server.found()
    assert not found["errors"]
    assert len(found["latencies"]) == 10
    assert found["received"] == {2: len(BLOCKS[2]) * 2}
    assert int.from_bytes(small.answer, "big") == 10
    assert int.from_bytes(large.answer, "big") == len(BLOCKS[2]) * 2


@pytest.mark.anyio
async def test_what_comes_outside_the_two_moments_is_checked_and_not_counted() -> None:
    server = actor.Server()
    await server.expect(begin=0.0, end=0.0)
    small, large = Played(bytes([actor.MESSAGES]) + messages(3)), Played(b"\x00", BLOCKS[0])
    await server.answer(small)
    await server.answer(large)
    found = await server.found()
    assert (found["errors"], found["latencies"], found["received"]) == (0, [], {0: 0})
    assert int.from_bytes(small.answer, "big") == 3


@pytest.mark.anyio
@pytest.mark.parametrize("wrong", [20, 64 + 3])
async def test_a_message_that_is_not_the_next_one_is_an_error(wrong: int) -> None:
    said = bytearray(messages(2))
    said[wrong] ^= 1
    server = actor.Server()
    await server.expect(begin=0.0, end=float("inf"))
    await server.answer(Played(bytes([actor.MESSAGES]) + said))
    found = await server.found()
    assert found["errors"] == 1
    assert "DifferentBytesError: message" in found["first_error"]


# A real path


def impediment() -> str:
    """What keeps this user of this machine from having network namespaces and TUN devices."""
    name = f"muxado{os.getpid()}probe"
    try:
        Path("/dev/net/tun").open("r+b", buffering=0).close()
        for verb in ("add", "delete"):
            subprocess.run(["ip", "netns", verb, name], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return getattr(error, "stderr", "") or str(error)
    return ""


def left_behind() -> str:
    """Namespaces of this process."""
    listed = subprocess.run(
        ["ip", "netns", "list"], check=True, capture_output=True, text=True
    ).stdout
    return "".join(it for it in listed.splitlines() if it.startswith(f"muxado{os.getpid()}x"))


@pytest.fixture
def with_path(workshop: Workshop) -> Workshop:
    """Has the program of the path; skips where there can be none."""
    if reason := impediment():
        pytest.skip(f"no path can be laid here: {reason}")
    try:
        workshop.program(PROGRAM)
    except ToolchainError as error:
        if os.environ.get("MUXADO_INTEROP") == "require":
            raise
        pytest.skip(str(error))
    return workshop


def test_every_variant_plays_on_a_path_and_nothing_overtakes_it(with_path: Workshop) -> None:
    line = Line("short", 50e6, 0.010, 250_000)
    effort = narrow.Effort(1, 0.1, 0.2, uvloop=True)
    variants = (*narrow.VARIANTS, *narrow.ON_UVLOOP, narrow.WEIGHTS, narrow.RAW)
    runs = narrow.play(with_path, line, variants, effort, narrow.WINDOWS)
    # Their handshakes are of the time that does not count.
    over = (narrow.OVER_TLS, narrow.OVER_WSS)
    runs |= narrow.play(with_path, line, over, replace(effort, lead=2.0), narrow.WINDOWS)
    for variant in (*variants, *over):
        [outcome] = runs[variant.name]
        assert isinstance(outcome, Run), outcome
        assert len(outcome.received) == len(variant.weights)
        assert bool(outcome.latencies) == variant.messages
        assert min(outcome.latencies, default=1) >= line.round_trip / 2
        assert 0 <= outcome.sent_again < 1
    assert not left_behind()


def test_a_path_has_the_congestion_control_of_its_line_and_counts_what_is_sent(
    with_path: Workshop,
) -> None:
    line = replace(LINE, congestion_control="reno")  # every Linux has it
    script = (
        "import socket; listener = socket.create_server(('10.98.0.1', 0));"
        "socket.create_connection(listener.getsockname()).send(b'it')"
    )
    with lay(line, with_path) as path:
        before = path.segments()
        route = ["ip", "-n", path.near, "route", "show"]
        shown = subprocess.run(route, check=True, capture_output=True, text=True).stdout
        assert "congctl reno" in shown
        subprocess.run(path.command(path.near, [sys.executable, "-c", script]), check=True)
        after = path.segments()
        assert after.sent > before.sent
        assert after.sent_again == before.sent_again
    assert not left_behind()


def test_a_path_that_cannot_be_finished_leaves_nothing_behind(with_path: Workshop) -> None:
    with pytest.raises(PathError, match="failed: "), lay(Line("", 1e6, 0.1, 1, mtu=1), with_path):
        raise AssertionError
    assert not left_behind()


def test_an_error_inside_takes_the_path_down(with_path: Workshop) -> None:
    with suppress(KeyError), lay(LINE, with_path):
        assert left_behind()
        raise KeyError
    assert not left_behind()
