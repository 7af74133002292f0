"""The demo: its judgement on given findings, and one short run of the whole."""

from __future__ import annotations

import json
import math
import os
import select
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest

from muxado_py.cli.demo.app import DemoApp
from muxado_py.cli.demo.progress import progress
from muxado_py.cli.demo.proxy import EmulatedLink
from muxado_py.cli.demo.puppet import puppet
from muxado_py.cli.demo.report import Call, Findings, Phase, percentile, table
from muxado_py.cli.running import NotStarted

from .processes import ROOT, command, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LINK = EmulatedLink(rate=6.25e6, delay=0.02)
CALLS = [
    Call("a1", "running in the app", "UNKNOWN", executed=True),
    Call("d1", "waiting", "NEVER_SENT", executed=False),
]
GOOD = Findings(
    seconds=1.0,
    link=LINK,
    idle=Phase([0.04] * 100, [], 0.0),
    fifo=Phase([0.25] * 100, [], 6e6),
    priority=Phase([0.08] * 100, [], 5.9e6),
    calls=CALLS,
)


def held(findings: Findings) -> bool:
    assert findings.as_json()["ok"] is all(claim.held for claim in findings.claims())
    return bool(findings.as_json()["ok"])


def test_percentiles_are_measured_values() -> None:
    values = [float(number) for number in range(1, 201)]
    assert percentile(values, 50) == 100.0
    assert percentile(values, 99) == 198.0
    assert percentile([3.0], 99) == 3.0
    assert math.isnan(percentile([], 50))


def test_good_findings_hold() -> None:
    assert held(GOOD)


@pytest.mark.parametrize(
    "bad",
    [
        GOOD._replace(idle=Phase([0.04], ["ReadTimeout"], 0.0)),
        GOOD._replace(priority=Phase([0.0876] * 100, [], 5.9e6)),
        GOOD._replace(priority=Phase([0.08] * 98 + [0.126] * 2, [], 5.9e6)),
        GOOD._replace(priority=Phase([0.08] * 100, [], 5.3e6)),
        GOOD._replace(priority=Phase([], [], 5.9e6)),
        GOOD._replace(fifo=Phase([0.25] * 100, [], 0.0)),
        GOOD._replace(calls=[*CALLS, Call("d2", "waiting", "REFUSED", executed=True)]),
        GOOD._replace(calls=CALLS[:1]),
    ],
    ids=["failed", "p50", "p99", "bulk", "no priority", "no bulk", "safe but executed", "no safe"],
)
def test_findings_that_break_one_claim_do_not_hold(bad: Findings) -> None:
    assert not held(bad)
    assert "FAILED" in table(bad)


def test_on_bare_loopback_ratios_are_not_judged() -> None:
    assert held(GOOD._replace(link=None, priority=GOOD.fifo))


def test_the_json_has_what_programs_read() -> None:
    said = json.loads(json.dumps(GOOD.as_json()))
    assert (said["requests"], said["failed"]) == (300, 0)
    assert said["latency_ms"]["fifo"] == {"p50": 250.0, "p99": 250.0}
    assert said["bulk_mb_s"] == {"fifo": 6.0, "priority": 5.9}
    assert {name: said["retry"][name] for name in ("safe", "unknown", "safe_but_executed")} == {
        "safe": 1,
        "unknown": 1,
        "safe_but_executed": 0,
    }
    assert "TCP_NOTSENT_LOWAT" in said["fifo_means"]


def test_the_table_shows_each_phase_and_each_call() -> None:
    text = table(GOOD)
    for part in (
        "50 Mbit/s and 40 ms",
        "250.0 ms",
        "5.90 MB/s",
        "no (unknown)",
        "yes (never sent)",
    ):
        assert part in text


@pytest.mark.anyio
async def test_the_app_records_a_call_before_it_reads_its_body() -> None:
    app = DemoApp()

    async def body() -> AsyncIterator[bytes]:
        await app.has_executed(1)  # would wait for ever if the record came after the body
        yield b"12345"

    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://app") as client:
        assert (await client.get("/ping")).text == "pong\n"
        assert (await client.get("/nothing")).status_code == 404
        assert app.executed == []
        with anyio.fail_after(10):
            answer = await client.post("/count?id=c1", content=body())
    assert answer.text == "5\n"
    assert app.executed == ["c1"]


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/bulk", "/slow"])
async def test_the_app_stops_when_its_caller_leaves(path: str) -> None:
    left = anyio.Event()

    async def receive() -> dict[str, str]:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: object) -> None:
        await anyio.lowlevel.checkpoint()
        left.set()

    async def leave() -> None:
        await anyio.lowlevel.checkpoint()
        left.set()

    scope = {"type": "http", "path": path, "query_string": b""}
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(leave)
            await DemoApp()(scope, receive, send)


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_process_that_fails_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(NotStarted, match=r"(?s)agent process ended.*No such file or directory"):
        async with puppet("agent", tmp_path, "tls://127.0.0.1:1", "/no/such/file", "{}") as agent:
            await agent.hear()


@pytest.mark.slow
def test_a_short_run_is_safe_and_says_so_in_json() -> None:
    result = subprocess.run(
        command("demo", "--json", "--seconds", "2", "--link", "none"),
        capture_output=True,
        text=True,
        timeout=100,
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout)
    assert said["failed"] == 0
    assert said["requests"] == 3 * 80
    assert said["retry"]["safe_but_executed"] == 0
    assert said["retry"]["safe"] > 0
    assert said["retry"]["unknown"] > 0
    assert said["bulk_mb_s"]["fifo"] > 0
    assert said["bulk_mb_s"]["priority"] > 0
    for phase in ("idle", "fifo", "priority"):
        assert 0 < said["latency_ms"][phase]["p50"] <= said["latency_ms"][phase]["p99"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_the_demo(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No process; and no file, where it has the time."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with running("demo", "--seconds", "60", "--link", "none") as demo:
        demo.wait_for("requests (alone)")
        children = demo.children()
        assert len(children) == 2
        code = demo.end(number)
        assert code == (-9 if number == signal.SIGKILL else 0)
        for child in children:
            wait_until_gone(child)
    assert not any(tmp_path.iterdir()) or number == signal.SIGKILL


def wait_until_gone(pid: int) -> None:
    """Return when there is no process ``pid``; the test's own time limit bounds it."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([handle], [], [], 20)[0], f"process {pid} is still there"
    finally:
        os.close(handle)


@pytest.mark.slow
def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    (tmp_path / "cryptography.py").write_text("raise ModuleNotFoundError(name='cryptography')")
    result = subprocess.run(
        command("demo"),
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert result.returncode == 3
    assert "pip install 'muxado-py[demo]'" in result.stderr


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_goes_to_stderr_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terminal: bool
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with progress() as say:
        say("measuring")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "measuring ..." in captured.err
    assert ("\x1b[" in captured.err) is terminal  # a spinner draws over itself
