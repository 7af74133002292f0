"""The benchmark of tunnels, as far as it can be right or wrong: its load, its set-ups, its refusals.

Nothing here looks at how long anything took.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .bench.figures import RefusedError, Spread
from .bench.pair import FailedRunError
from .bench.tunnel import programs, report
from .bench.tunnel.__main__ import QUICK, main
from .bench.tunnel.callers import load
from .bench.tunnel.ours import OURS
from .bench.tunnel.programs import HOST, Program, Tunnel, free_port
from .bench.tunnel.rounds import LOAD, Effort, Match
from .bench.tunnel.rows import IDLE, ROWS, Row, Run
from .bench.tunnel.served import Ports
from .bench.tunnel.setups import ALONE, Chisel, Frp, Setup, setups
from .workshop import ToolchainError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .bench.tunnel.rounds import Runs
    from .workshop import Workshop

FAILED = FailedRunError("3 errors, the first: late")
SHORT = Effort(rounds=1, seconds=0.1, warm_up=0.0, idle_callers=40, idle_rounds=1)
GET = ROWS[0]
[BARE] = [one for one in setups() if one.name == ALONE]


@pytest.fixture
def generator(workshop: Workshop) -> Path:
    """The load generator."""
    try:
        return workshop.program(LOAD)
    except ToolchainError as error:
        return absent(f"no load: {error}")


def absent(reason: str) -> Path:
    if os.environ.get("MUXADO_INTEROP") == "require":
        pytest.fail(f"MUXADO_INTEROP=require, but {reason}", pytrace=False)
    pytest.skip(reason)


# Set-ups


@pytest.mark.parametrize("setup", setups(quick=True), ids=lambda it: it.name)
def test_a_setup_does_every_row_without_an_error(
    setup: Setup, workshop: Workshop, generator: Path
) -> None:
    if reason := setup.absence(workshop):
        absent(reason)
    with Match(workshop, SHORT, lambda _: None) as match:
        for row in ROWS:
            for [outcome] in match.play(row, [setup]).values():
                assert isinstance(outcome, Run), f"{row.title}: {outcome}"
                assert row is IDLE or outcome.figure > 0
                assert row is IDLE or outcome.p99 >= outcome.p50 > 0


def test_the_versions_are_those_of_the_modules() -> None:
    tunnels = Path(__file__).parent / "go" / "tunnels"
    for name, module, note in (
        ("frp", "github.com/fatedier/frp", Frp().note),
        ("chisel", "github.com/jpillora/chisel", Chisel().note),
    ):
        version = note.partition(";")[0]
        assert f"\t{module} {version} // indirect\n" in (tunnels / name / "go.mod").read_text()


def test_the_command_prints_every_run_as_json(
    generator: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--quick", "--rounds", "2", "--only", "get-1", "--only", "idle", "--beside", "alone"]
    assert main([*few, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert {"date", "machine", "Python", "application", "commit"} <= set(printed["about"])
    assert set(printed["rows"]) == {"get-1", "idle"}
    runs = printed["rows"]["get-1"]["runs"]
    assert {OURS, ALONE} <= set(runs)
    assert all(len(found) == 2 and found[0]["figure"] > 0 for found in runs.values())


def test_a_setup_that_does_not_exist_is_an_error_with_the_names(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["--beside", "ngrok"])
    assert "chisel" in capsys.readouterr().err


# Programs


def test_a_program_that_does_not_start_fails_the_run_in_its_own_words(tmp_path: Path) -> None:
    dying = Program([sys.executable, "-c", "raise SystemExit('not today')"], free_port())
    with pytest.raises(FailedRunError, match="ended: not today"):
        Tunnel([dying], free_port(), tmp_path)


def test_a_program_that_is_not_there_fails_the_run(tmp_path: Path) -> None:
    with pytest.raises(FailedRunError, match="no-such does not start"):
        Tunnel([Program([str(tmp_path / "no-such")])], free_port(), tmp_path)


def test_our_settings_in_the_environment_do_not_reach_a_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUXADO_FRAME_LOG", "frames")
    said = "import os; raise SystemExit(str(sorted(it for it in os.environ if 'MUXADO' in it)))"
    with pytest.raises(FailedRunError, match=r"ended: \[\]$"):
        Tunnel([Program([sys.executable, "-c", said], free_port())], free_port(), tmp_path)


def test_ports_are_found_where_all_of_them_are_for_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(programs, "_proc", lambda _: "1024 65535")
    assert free_port() in programs.PORTS


def test_a_tunnel_that_ends_leaves_no_process(tmp_path: Path) -> None:
    """The gateway has a child, as sshd has one for each session."""
    port = free_port()
    [app] = BARE.programs(None, Ports(0, port, 0), tmp_path)  # type: ignore[arg-type]
    parent = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)"
    tunnel = Tunnel([Program([sys.executable, "-c", parent, *app.command], port)], port, tmp_path)
    assert tunnel.memory() > 0
    assert tunnel.cpu_seconds() > 0
    tunnel.end()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, port))


@pytest.mark.parametrize("row", [GET, IDLE], ids=lambda it: it.name)
def test_a_failure_costs_one_round_and_the_next_one_has_new_programs(
    workshop: Workshop, generator: Path, row: Row
) -> None:
    """The gateway dies in its first life, before its callers come."""
    [ours] = [one for one in setups() if one.name == OURS]

    class Dying(Match):
        lives = 0

        def _tunnel(self, setup: Setup) -> Tunnel:
            tunnel = super()._tunnel(setup)
            Dying.lives += 1
            if Dying.lives == 1:
                gateway = tunnel._running[0].process
                gateway.kill()
                gateway.wait()
            return tunnel

    with Dying(workshop, Effort(2, 0.05, 0.0, 4, 2), lambda _: None) as match:
        first, second = match.play(row, [ours])[OURS]
    assert isinstance(first, FailedRunError)
    assert isinstance(second, Run)


# Load


@contextmanager
def answering(*answers: bytes) -> Iterator[int]:
    """A server that says one of these to each piece that it reads, and then ends its side and reads no more."""
    over = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):  # the generator may be gone
            for answer in answers:
                connection.recv(65536)
                connection.sendall(answer)
            connection.shutdown(socket.SHUT_WR)
            over.wait()

    with socket.create_server((HOST, 0)) as listener:
        serving = threading.Thread(target=serve)
        serving.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            over.set()
            serving.join()


def said_of(generator: Path, exchange: str, port: int) -> dict[str, object]:
    command = [
        str(generator),
        "-address",
        f"{HOST}:{port}",
        "-exchange",
        exchange,
        "-seconds",
        "0.05",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    found: dict[str, object] = json.loads(done.stdout)
    return found


HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
WELCOME = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"


@pytest.mark.parametrize(
    ("exchange", "answers", "error"),
    [
        ("get", [b""], "ended before the answer"),
        ("get", [HELLO, HELLO[:-1]], "ended before the answer"),
        ("get", [HELLO.replace(b"200", b"503")], "HTTP/1.1 503"),
        ("get", [HELLO, HELLO[:-1] + b"O"], "hellO"),
        ("get", [HELLO + b"!"], "hello!"),
        ("get", [HELLO.replace(b": 5", b": 6")], "an answer without"),
        ("each", [HELLO + HELLO], "where"),
        (
            "upload",
            [HELLO.replace(b": 5", b": 8").replace(b"hello", b"10485760")],
            "before the question",
        ),
        ("websocket", [HELLO], "HTTP/1.1 200"),
        ("websocket", [WELCOME, b"\x82\x40" + b"?" * 64], r"\x82@?"),
    ],
)
def test_an_answer_that_is_not_the_expected_one_is_an_error(
    generator: Path, exchange: str, answers: list[bytes], error: str
) -> None:
    with answering(*answers) as port:
        said = said_of(generator, exchange, port)
    assert said["errors"] == 1
    assert error in str(said["first_error"])


def test_answers_may_come_in_any_pieces(generator: Path) -> None:
    """The generator asks again only when an answer is whole: the server's next piece is for the next question."""
    with socket.create_server((HOST, 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection:
                while connection.recv(65536):
                    for at in range(0, len(HELLO), 7):
                        connection.sendall(HELLO[at : at + 7])

        serving = threading.Thread(target=serve)
        serving.start()
        said = said_of(generator, "get", int(listener.getsockname()[1]))
        serving.join()
    assert said["errors"] == 0
    assert isinstance(said["done"], int)
    assert said["done"] > 0


def test_nobody_who_listens_is_an_error(generator: Path) -> None:
    said = said_of(generator, "get", free_port())
    assert "refused" in str(said["first_error"])


def test_a_run_with_an_error_gives_no_figure(workshop: Workshop, generator: Path) -> None:
    class Answering(Tunnel):
        def __init__(self, port: int) -> None:
            self.port, self._running = port, []

    with answering(HELLO, b"") as port, pytest.raises(FailedRunError, match="1 errors, the first"):
        load(generator, Answering(port), GET, 0.05)


# Figures


def results(row: Row, runs: Runs) -> report.Results:
    here = tuple(one for one in setups() if one.name in runs)
    return report.Results(here, {"rathole": "no `cargo`"}, QUICK, {row: runs})


def test_a_ratio_is_taken_inside_each_round_and_above_one_is_in_our_favour() -> None:
    rate: Runs = {OURS: [Run(200), Run(20), Run(400)], "frp": [Run(100), Run(10), Run(200)]}
    assert report.ratio(GET, rate, OURS, "frp") == Spread(2.0, 2.0, 2.0)
    memory: Runs = {OURS: [Run(2)], "frp": [Run(28)]}
    assert report.ratio(IDLE, memory, OURS, "frp").median == 14.0
    with pytest.raises(RefusedError):
        report.ratio(GET, {OURS: [Run(2)], "frp": [FAILED]}, OURS, "frp")


def test_the_report_says_who_failed_and_who_was_absent_and_prints_no_ratio_of_it() -> None:
    found = results(
        GET, {OURS: [Run(40), Run(60)], "frp": [Run(10), FAILED], ALONE: [Run(100)] * 2}
    )
    text = report.text(found)
    assert "frp failed in round 2: 3 errors, the first: late" in text
    assert "rathole took no part: no `cargo`" in text
    assert "| GET, 1 connection, requests/s | 50.0 | failed | 100 |" in text
    assert "| GET, 1 connection, requests/s | refused | 0.50 [0.45, 0.55] |" in text
    assert report.failures(found) == 1
    [lost, kept] = report.facts(found)["rows"]["get-1"]["ratios"]
    assert "late" in lost["refused"]
    assert kept["median"] == 0.5
    json.dumps(report.facts(found))
