"""``muxado gateway --stdio``: a gateway that somebody starts for one agent, as ssh does, and that ends with it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from .processes import ROOT, command, run, running
from .test_end_to_end import get

pytestmark = pytest.mark.slow

GATEWAY = "exec:" + shlex.join(command("gateway", "--stdio", "--publish", "127.0.0.1:0"))


@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
def test_an_app_is_published_by_a_gateway_that_the_agent_has_started(loop: str) -> None:
    arguments = ("--connect", f"{GATEWAY} --loop {loop}", "--loop", loop)
    with running("serve", "tests.cli.apps:starlette_app", *arguments) as agent:
        port = int(agent.wait_for(r"callers connect to \S+:(\d+)"))  # its stderr is the agent's
        agent.wait_for("(connected to exec:)")
        agent.wait_for(r"(agent \(unnamed\) connected \(1 in all\))")
        assert get(port, "/?name=you") == (200, "hello you, start 1")
        [gateway] = agent.children()
        assert agent.end(signal.SIGINT) == 0
    assert not Path(f"/proc/{gateway}").exists()
    assert "undelivered" not in agent.said()
    assert "Traceback" not in agent.said()


def test_a_gateway_that_is_killed_is_started_again() -> None:
    with running("serve", "tests.cli.apps:starlette_app", "--connect", GATEWAY) as agent:
        agent.wait_for("(connected to exec:)")
        [gateway] = agent.children()
        os.kill(gateway, signal.SIGKILL)
        # It may have another one before the end of the process is known.
        agent.wait_for(
            r"((?:lost the connection|no longer connected) to exec:.* ended by signal 9)"
        )
        agent.wait_for(r"INFO +(connected to exec:)", times=2)
        port = int(agent.wait_for(r"callers connect to \S+:(\d+)", times=2))
        assert get(port)[0] == 200
        assert agent.end() == 0


def test_a_command_that_cannot_be_started_ends_it_with_words() -> None:
    arguments = ("--max-retries", "0", "--connect")
    for wrong, words in (
        ("exec:no-such-program-anywhere", "No such file or directory"),
        ("exec:sh -c 'exit 3'", "ended with exit code 3"),
    ):
        found = run("serve", "tests.cli.apps:starlette_app", *arguments, wrong)
        assert found.returncode == 3
        assert words in found.stderr


def test_a_gateway_ends_with_the_agent_that_has_started_it() -> None:
    with subprocess.Popen(
        command("gateway", "--stdio", "--publish", "127.0.0.1:0"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    ) as gateway:
        _, said = gateway.communicate(timeout=100)  # the end of its stdin
    assert gateway.returncode == 0
    assert b"agents connect to stdio:" in said


def test_who_dials_over_stdio_does_not_try_again() -> None:
    with subprocess.Popen(
        command("serve", "tests.cli.apps:starlette_app", "--connect", "stdio:"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    ) as agent:
        _, said = agent.communicate(timeout=100)
    assert agent.returncode == 3
    assert b"Gave up after 1 attempt" in said


@pytest.mark.parametrize("options", [(), ("--stdio", "--listen", "tcp://127.0.0.1:0")])
def test_agents_come_in_one_way(options: tuple[str, ...]) -> None:
    found = run("gateway", "--publish", "0", *options)
    assert found.returncode == 2
    assert "say either --listen URL or --stdio" in found.stderr
