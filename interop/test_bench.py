"""The benchmark, as far as it can be right or wrong: its statistics, its refusals, and its pairs.

Nothing here looks at how long anything took.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .bench import plot, report, websockets
from .bench.__main__ import main
from .bench.actors.payload import BLOCK, BLOCKS, Checker
from .bench.competitors import COMPETITORS, GO, MODULES, OURS, Competitor
from .bench.figures import RefusedError, Spread, fastest, ratio, spread
from .bench.loopback import QUICK
from .bench.pair import FailedRunError, Pair
from .bench.rounds import Effort, Stadium
from .bench.workloads import BULK_DOWN, CALL_WORKLOADS, WORKLOADS, Metric, Sample, Workload
from .workshop import ToolchainError, Workshop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .bench.figures import Outcome

RATE = Metric("rate", "1/s", lambda sample: sample.done / sample.seconds)
COST = Metric("CPU", "s", lambda sample: sample.client_cpu + sample.server_cpu, False)
FAILED = FailedRunError("3 errors of the server, the first: late")


def run(done: int, cpu: float = 1.0) -> Sample:
    """A run of one second."""
    return Sample(done, 1.0, cpu, cpu)


# Statistics


def test_a_spread_is_the_median_between_the_quartiles() -> None:
    assert spread([5.0, 1.0, 2.0, 4.0, 3.0]) == Spread(3.0, 2.0, 4.0)
    assert spread([7.0]) == Spread(7.0, 7.0, 7.0)


def test_a_ratio_is_taken_inside_each_round() -> None:
    """The second round was slow for both: the ratio of medians would be 4, each round says 2."""
    runs = {"ours": [run(200), run(20), run(400)], "theirs": [run(100), run(10), run(200)]}
    assert ratio(runs, "ours", "theirs", RATE) == Spread(2.0, 2.0, 2.0)


def test_above_one_is_in_our_favour_for_costs_too() -> None:
    runs = {"ours": [run(1, cpu=1.0)], "theirs": [run(1, cpu=3.0)]}
    assert ratio(runs, "ours", "theirs", COST).median == 3.0


def test_the_fastest_has_most_of_a_rate_and_least_of_a_cost() -> None:
    runs = {"a": [run(5, cpu=1.0)], "b": [run(9, cpu=2.0)]}
    assert fastest(runs, ("a", "b", "absent"), RATE) == "b"
    assert fastest(runs, ("a", "b"), COST) == "a"


# Refusals


@pytest.mark.parametrize(
    "runs",
    [
        pytest.param({"ours": [run(1), FAILED], "theirs": [run(1), run(1)]}, id="ours-failed"),
        pytest.param({"ours": [run(1), run(1)], "theirs": [FAILED, run(1)]}, id="theirs-failed"),
        pytest.param({"ours": [], "theirs": []}, id="nobody-ran"),
        pytest.param({"ours": [run(1)]}, id="no-such-competitor"),
    ],
)
def test_no_ratio_rests_on_a_failed_run(runs: dict[str, Sequence[Outcome]]) -> None:
    with pytest.raises(RefusedError):
        ratio(runs, "ours", "theirs", RATE)


def test_nothing_is_no_divisor() -> None:
    runs = {"ours": [run(1, cpu=0.0)], "theirs": [run(1)]}
    with pytest.raises(RefusedError, match="too small"):
        ratio(runs, "ours", "theirs", COST)


def test_nobody_is_the_fastest_while_one_that_failed_might_have_been() -> None:
    with pytest.raises(RefusedError, match="b: 3 errors"):
        fastest({"a": [run(5)], "b": [run(9), FAILED]}, ("a", "b"), RATE)
    with pytest.raises(RefusedError, match="nobody"):
        fastest({}, ("a", "b"), RATE)


def results(outcomes: dict[str, list[Outcome]]) -> report.Results:
    """Of one workload, by all that are named in ``outcomes``."""
    here = tuple(one for one in COMPETITORS if one.name in outcomes)
    return report.Results(here, {"Go smux, version 1": "no Go"}, QUICK, {WORKLOADS[0]: outcomes})


def test_the_report_says_who_failed_and_who_was_absent_and_prints_no_ratio_of_it() -> None:
    found = results(
        {
            "muxado_py, asyncio": [run(400), run(400)],
            "Go muxado": [run(100), FAILED],
            "gRPC, grpcio aio": [run(100), run(100)],
        }
    )
    text = report.text(found)
    assert "Go muxado failed in round 2: 3 errors of the server, the first: late" in text
    assert "Go smux, version 1 took no part: no Go" in text
    assert "| bulk, 1 stream | asyncio | refused | 4.00 |" in text
    assert report.failures(found) == 1
    [lost, *_, last] = report.facts(found)["workloads"]["bulk-1"]["ratios"]
    assert "late" in lost["refused"]
    assert "median" not in lost
    assert last["metric"] == "CPU"
    assert last["median"] == 4.0
    json.dumps(report.facts(found))


def test_who_of_ours_does_other_workloads_has_no_ratio_in_this_one() -> None:
    names = ("muxado_py, asyncio", "muxado_py, blocking", "Go muxado")
    here = tuple(one for one in COMPETITORS if one.name in names)
    outcomes: dict[str, list[Outcome]] = {names[0]: [run(400)], names[2]: [run(100)]}
    found = report.Results(here, {}, QUICK, {WORKLOADS[0]: outcomes})
    assert "refused" not in report.text(found)
    ratios = report.facts(found)["workloads"]["bulk-1"]["ratios"]
    assert {one["ours"] for one in ratios} == {"muxado_py, asyncio"}


def test_the_plot_has_a_bar_for_each_that_ran_and_a_word_for_each_that_failed() -> None:
    svg = plot.bars(results({"muxado_py, trio": [run(400)], "Go muxado": [FAILED]}), "today <here>")
    texts = [it.text for it in ET.fromstring(svg).iter() if it.tag.endswith("text")]
    bars = [it for it in ET.fromstring(svg).iter() if it.tag.endswith("rect")]
    assert len(bars) == 2  # the background and ours
    assert {"failed", "muxado_py, trio", "today <here>"} <= set(texts)


def test_the_command_prints_every_run_as_json_and_writes_the_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bars.svg"
    few = ["--quick", "--rounds", "2", "--only", "calls-1", "--against", "tcp conn"]
    assert main([*few, "--json", "--plot", str(path)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert {"date", "machine", "Python", "commit"} <= set(printed["about"])
    [(name, workload)] = printed["loopback"]["workloads"].items()
    assert name == "calls-1"
    assert {"muxado_py, asyncio", "muxado_py, trio", "TCP connections, uvloop"} <= set(
        workload["runs"]
    )
    assert all(len(runs) == 2 and runs[0]["done"] > 0 for runs in workload["runs"].values())
    assert ET.parse(path).getroot().tag.endswith("svg")


def test_the_command_takes_a_workload_of_websockets_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--quick", "--rounds", "1", "--only", BULK_DOWN.name]) == 0
    said = capsys.readouterr().out
    assert "loopback" not in said
    [row] = (line for line in said.splitlines() if line.startswith(f"| {BULK_DOWN.title} |"))
    *_, over_tls, _ = row.split(" | ")[-1].split()
    assert float(over_tls) > 0


def test_a_competitor_that_does_not_exist_is_an_error_with_the_names(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["--against", "quic"])
    assert "Go yamux" in capsys.readouterr().err


# Bytes


def test_the_checker_takes_a_transfer_in_any_pieces_and_stops_at_the_first_wrong_byte() -> None:
    data = b"\x03" + BLOCKS[3] + BLOCKS[4] + BLOCKS[0]
    for size in (1000, BLOCK, len(data)):
        checker = Checker()
        for at in range(0, len(data), size):
            checker.feed(data[at : at + size])
        assert checker.right == len(data) - 1
    wrong = Checker()
    wrong.feed(b"\x00" + BLOCKS[0])
    wrong.feed(BLOCKS[2])
    wrong.feed(BLOCKS[1])
    assert wrong.right == BLOCK


# Pairs

LIAR = """
import sys
from interop.bench.actors import stage, tcp

async def receive(self, max_bytes=65536):
    data = await honest(self, max_bytes)
    return data[:-1] + bytes([data[-1] ^ 1])

if "--connect" not in sys.argv:
    honest, tcp.Connection.receive = tcp.Connection.receive, receive
stage.play(tcp.dial, tcp.serve)
"""


def of_one(workload: Workload) -> Workload:
    return next(it for it in WORKLOADS if it.action == workload.action)


ACTIONS = [*(of_one(it) for it in WORKLOADS if it is of_one(it)), BULK_DOWN]
HERE = [one for one in COMPETITORS if one.kind in (OURS, GO) or "tcp" in one.actor]
HERE += [one for one in websockets.COMPETITORS if one.actor != "langsmith_yamux"]


@pytest.mark.parametrize("competitor", HERE, ids=lambda it: it.name)
def test_a_pair_does_every_workload_without_an_error(
    competitor: Competitor, workshop: Workshop
) -> None:
    if reason := competitor.absence(workshop):
        assert os.environ.get("MUXADO_INTEROP") != "require", reason
        pytest.skip(reason)
    effort = Effort(rounds=1, seconds=0.05, idle_streams=100, idle_rounds=1)
    with Stadium(workshop, effort, lambda _: None) as stadium:
        for workload in (it for it in (*ACTIONS, *CALL_WORKLOADS) if it.name in competitor.can):
            [outcome] = stadium.play(workload, [competitor])[competitor.name]
            assert isinstance(outcome, Sample), outcome
            assert outcome.client_cpu > 0
            assert outcome.server_cpu > 0


@pytest.mark.parametrize("workload", ACTIONS, ids=lambda it: it.name)
def test_a_byte_that_comes_back_wrong_fails_the_run(workload: Workload) -> None:
    pair = Pair([sys.executable, "-c", LIAR])
    try:
        with pytest.raises(FailedRunError, match="DifferentBytesError"):
            pair.run(workload, 2, 0.05)
    finally:
        pair.end()


def test_a_program_that_does_not_start_fails_the_run_in_its_own_words() -> None:
    with pytest.raises(FailedRunError, match="the process ended: not today"):
        Pair([sys.executable, "-c", "raise SystemExit('not today')"])


def test_a_failure_costs_one_round_and_the_next_one_has_new_processes(workshop: Workshop) -> None:
    """The program's server dies in its first life, when it is told what to do."""

    class Dying(Stadium):
        lives = 0

        def _pair(self, competitor: Competitor) -> Pair:
            pair = super()._pair(competitor)
            Dying.lives += 1
            if Dying.lives == 2:  # the first was the warm-up
                os.kill(pair.server.pid, signal.SIGKILL)
            return pair

    [tcp] = [one for one in COMPETITORS if one.name == "TCP connections, asyncio"]
    with Dying(workshop, Effort(2, 0.05, 1, 1), lambda _: None) as stadium:
        first, second = stadium.play(WORKLOADS[0], [tcp])[tcp.name]
    assert isinstance(first, FailedRunError)
    assert isinstance(second, Sample)


def test_the_go_program_is_built_against_the_versions_of_go_mod() -> None:
    modules = (Path(__file__).parent / "go" / "go.mod").read_text()
    for module in MODULES.values():
        assert f"{module.replace('@', ' ')}\n" in modules


def test_who_cannot_be_built_is_absent_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def program(*_: object) -> Path:
        raise ToolchainError("no `go`")

    monkeypatch.setattr(Workshop, "program", program)
    absent = next(one for one in COMPETITORS if one.kind == GO)
    assert "no `go`" in absent.absence(Workshop(Path()))
