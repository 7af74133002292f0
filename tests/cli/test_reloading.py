"""SIGHUP: what is read again, that a slip in a file stops nothing, and that a terminal that is gone is an end."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import anyio
import click
import pytest

from muxado_py.cli.reloading import Reloading
from muxado_py.cli.running import run
from muxado_py.cli.trust.certs import Wanted, make_certificates
from muxado_py.cli.trust.tokens import add_line, hash_token, make_token, parse_line

from .processes import command, running

if TYPE_CHECKING:
    from pathlib import Path

APP = "tests.cli.apps:starlette_app"


def test_what_cannot_be_read_stays_and_the_others_are_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "muxado.cli")
    read = []
    reloading = Reloading()

    def failing(exc: Exception) -> None:
        def fail() -> None:
            raise exc

        reloading.add(type(exc).__name__, fail)

    failing(click.UsageError("no certificate"))
    failing(ValueError("line 3"))
    failing(OSError(2, "No such file", "tokens"))
    reloading.add("rest", lambda: read.append(1))
    reloading()
    assert read == [1]
    assert caplog.messages == [
        "the UsageError stay as they were: no certificate",
        "the ValueError stay as they were: line 3",
        "the FileNotFoundError stay as they were: [Errno 2] No such file: 'tokens'",
        "the rest are read again",
    ]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
def test_each_hangup_is_heard_and_none_ends_the_command(loop: str) -> None:
    heard: list[int] = []

    async def twice(stop: anyio.Event) -> None:
        for number in (1, 2):
            os.kill(os.getpid(), signal.SIGHUP)
            with anyio.fail_after(10):
                while len(heard) < number:  # noqa: ASYNC110 - nothing tells of it
                    await anyio.sleep(0.001)
        assert not stop.is_set()

    # The watcher may not be there yet, and the default ends the process.
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)

    async def settled(stop: anyio.Event) -> None:
        await anyio.wait_all_tasks_blocked()
        await twice(stop)

    try:
        run(settled, loop=loop, hangup=lambda: heard.append(1))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert heard == [1, 1]


@pytest.mark.slow
def test_a_gateway_reads_tokens_and_certificates_again(tmp_path: Path) -> None:
    path, old = tmp_path / "tokens", make_certificates(tmp_path / "old", Wanted())
    shown, token = tmp_path / "shown", make_token()
    for one in old:
        (tmp_path / one.path.name).write_bytes(one.path.read_bytes())
        (tmp_path / one.key.name).write_bytes(one.key.read_bytes())
    shown.write_text(token)
    line = parse_line("laptop", hash_token(token), "blog")
    add_line(path, line)
    add_line(path, parse_line("other", hash_token(make_token()), "*"))
    files = (
        *("--ssl-certfile", str(tmp_path / "gateway.pem")),
        *("--ssl-keyfile", str(tmp_path / "gateway.key")),
    )
    listen = ("gateway", "--listen", "tls://127.0.0.1:0", "--publish", "blog=127.0.0.1:0")
    with running(*listen, "--token-file", str(path), *files) as gateway:
        url = gateway.wait_for(r"agents connect to (\S+)")
        trusting = ("--ssl-ca-certs", str(tmp_path / "old" / "ca.pem"))
        serve = ("serve", APP, "--name", "blog", "--connect", url, "--token-file", str(shown))
        with running(*serve, *trusting) as agent:
            gateway.wait_for(r"agent (laptop@\S+) serves blog")

            path.write_text("laptop\n")
            (tmp_path / "gateway.key").write_bytes((tmp_path / "agent.key").read_bytes())
            gateway.send(signal.SIGHUP)
            gateway.wait_for("the tokens (stay as they were: .*, line 1: )")
            gateway.wait_for("the certificates (stay as they were: cannot use --ssl-certfile)")

            path.write_text(f"{line}\n")
            new = make_certificates(tmp_path / "new", Wanted())
            (tmp_path / "gateway.pem").write_bytes(new[1].path.read_bytes())
            (tmp_path / "gateway.key").write_bytes(new[1].key.read_bytes())
            gateway.send(signal.SIGHUP)
            gateway.wait_for("the tokens (are read again)")
            gateway.wait_for("the certificates (are read again)")
            with running(*serve, *trusting) as late:
                assert late.wait() == 3
                late.wait_for("shows a certificate that is (not trusted)")

            path.write_text(f"{parse_line('laptop', hash_token(token), 'shop')}\n")
            gateway.send(signal.SIGHUP)
            gateway.wait_for(r"agent laptop@\S+ may not stay: (the token laptop is for shop)")
            gateway.wait_for(r"agent (laptop@\S+) is gone")
            agent.wait_for("(the other side closed the session|lost the connection)")
            agent.end()
        trusting = ("--ssl-ca-certs", str(tmp_path / "new" / "ca.pem"))
        with running(*serve, *trusting) as agent:
            agent.wait_for("it refused: (the token laptop is for shop)")
        path.write_text(f"{line}\n")
        gateway.send(signal.SIGHUP)
        with running(*serve, *trusting):
            gateway.wait_for(r"agent (laptop@\S+) serves blog", times=2)
        assert gateway.end() == 0


@pytest.mark.slow
def test_a_gateway_reads_the_tokens_of_its_cluster_again(tmp_path: Path) -> None:
    pytest.importorskip("coredis")
    path = tmp_path / "cluster"
    path.write_text(make_token())
    path.chmod(0o600)
    doors = ("--listen", "tcp://127.0.0.1:0", "--publish", "127.0.0.1:0")
    registry = f"unix://{tmp_path / 'nobody'}"  # what does not answer ends nothing
    with running(
        *("gateway", *doors, "--registry", registry, "--cluster-token-file", str(path))
    ) as gateway:
        gateway.wait_for("(callers connect to)")
        path.write_text("slip")
        gateway.send(signal.SIGHUP)
        gateway.wait_for("the tokens of the cluster (stay as they were: .* may be guessed)")
        path.write_text(f"{make_token()}\n{make_token()}\n")
        gateway.send(signal.SIGHUP)
        gateway.wait_for("the tokens of the cluster (are read again)")
        assert gateway.end() == 0


@pytest.mark.slow
def test_a_terminal_that_is_gone_is_an_end(tmp_path: Path) -> None:
    import pty

    add_line(tmp_path / "tokens", parse_line("laptop", hash_token(make_token()), "*"))
    ours, theirs = pty.openpty()
    doors = ("--listen", "tcp://127.0.0.1:0", "--publish", "127.0.0.1:0")
    tokens = ("--token-file", str(tmp_path / "tokens"))
    process = subprocess.Popen(
        command("gateway", *doors, *tokens), stdin=theirs, stderr=subprocess.PIPE, text=True
    )
    os.close(theirs)
    assert process.stderr is not None
    with process.stderr as said:
        try:
            while "callers connect" not in next(said):
                pass
            process.send_signal(signal.SIGHUP)
            assert "the tokens are read again" in next(said)
            os.close(ours)
            process.send_signal(signal.SIGHUP)
            assert "SIGHUP: stopping" in next(said)
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait(30)
