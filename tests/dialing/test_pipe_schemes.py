"""``exec:`` and ``stdio:``: sessions over the pipes of real processes."""

from __future__ import annotations

import os
import pty
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import create_task_group, fail_after

import muxado_py as muxado
from muxado_py.dialing.schemes import parse_url, url_of
from muxado_py.runtime.pipes import PipeStream

from ..check_byte_stream import receive_all

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ROOT = Path(__file__).parent.parent.parent
OVER_STDIO = f"{sys.executable} -m tests.dialing.over_stdio"


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture
def there(anyio_backend: tuple[str, dict[str, Any]]) -> str:
    """The backend of the other process: the same."""
    name, options = anyio_backend
    return f"{name}+uvloop" if options.get("use_uvloop") else name


async def expect_an_echo(session: muxado.Session, size: int = 5) -> None:
    async with await session.open_stream() as stream, create_task_group() as tasks:

        async def send() -> None:
            await stream.send(b"h" * size)
            await stream.send_eof()

        tasks.start_soon(send)
        assert await receive_all(stream) == b"h" * size


@pytest.mark.parametrize("wire", ["muxado", "yamux"])
async def test_a_session_with_a_command(
    there: str, wire: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with fail_after(100):
        config = muxado.Config(wire=wire)
        async with muxado.connect(f"exec:{OVER_STDIO} echo {there}", config=config) as session:
            await expect_an_echo(session)
            await expect_an_echo(session, 1_000_000)
    said = capfd.readouterr()
    assert "what is printed is no byte of the session" in said.err  # to stderr, which is ours
    assert said.out == ""


async def test_a_process_that_dials_over_its_stdio(there: str) -> None:
    """Whoever has its pipes accepts, as sshd's or inetd's user would."""
    child_reading, writing = os.pipe()
    reading, child_writing = os.pipe()
    with fail_after(100):
        child = await anyio.open_process(
            [*OVER_STDIO.split(), "dial", there],
            stdin=child_reading,
            stdout=child_writing,
            stderr=None,
        )
        os.close(child_reading)
        os.close(child_writing)
        async with child:
            async with muxado.server(PipeStream(reading, writing)) as session:
                await expect_an_echo(session)
            assert await child.wait() == 0


async def test_what_send_took_has_arrived_when_the_session_is_closed(
    there: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with fail_after(100):
        async with muxado.connect(f"exec:{OVER_STDIO} count {there}") as session:
            stream = await session.open_stream()
            await stream.send(bytes(1_000_000))
            await stream.send_eof()
    assert "1000000 bytes and a goodbye" in capfd.readouterr().err


async def test_what_a_killed_command_did_not_take_is_told(
    there: str, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[BaseException] = []
    with fail_after(100):
        try:
            url = f"exec:{OVER_STDIO} freeze {there}"
            async with muxado.connect(url, config=muxado.Config(close_timeout=60)) as session:
                stream = await session.open_stream()
                await stream.send(bytes(300_000))  # more than it takes unread
                said = ""
                while "frozen" not in said:
                    said += capfd.readouterr().err
                    await anyio.sleep(0.01)
                os.kill(_child(), signal.SIGKILL)
                with pytest.raises(muxado.TransportError, match="ended by signal 9") as info:
                    await stream.receive()
                told.append(info.value)
        except muxado.UndeliveredError as exc:
            told.append(exc)
    assert told


def _child() -> int:
    """The only child of this process, but for those of the test runner."""
    found = subprocess.run(
        ["pgrep", "-P", str(os.getpid()), "-f", "tests.dialing.over_stdio"],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(found.stdout)


async def test_how_a_command_ended_is_in_the_error(there: str) -> None:
    with fail_after(100):
        async with muxado.connect(f"exec:{OVER_STDIO} fail {there}") as session:
            with pytest.raises(muxado.TransportError, match=r"fail .* ended with exit code 7"):
                await (await session.open_stream()).send(b"x")
                await session.wait()
        with pytest.raises(muxado.TransportError, match="ended with exit code 3"):
            async with muxado.connect("exec:sh -c 'exit 3'") as session:
                await session.wait()
        with pytest.raises(FileNotFoundError):
            async with muxado.connect("exec:no-such-program-anywhere"):
                pytest.fail("connected")


async def test_a_cancelled_session_leaves_no_process(there: str) -> None:
    with anyio.move_on_after(0.5):
        async with muxado.connect(f"exec:{OVER_STDIO} freeze {there}") as session:
            stream = await session.open_stream()
            await stream.send(b"x")
            await anyio.sleep_forever()
    with pytest.raises(subprocess.CalledProcessError):
        _child()


async def test_who_holds_the_pipes_of_a_command_keeps_no_session(there: str) -> None:
    """What it has left in the background has its stdout, so the peer's end never comes: a doubt, in the time that closing has."""
    left = f"sleep {10_000_000 + os.getpid()}"  # which no other process of the suite has
    command = f"exec 3<&0; {left} <&3 & exec {OVER_STDIO} echo {there}"
    config = muxado.Config(close_timeout=0.5)
    with fail_after(100), pytest.raises(muxado.UndeliveredError, match="the peer did not end"):
        async with muxado.connect(f"exec:sh -c {shlex.quote(command)}", config=config) as session:
            await expect_an_echo(session)
    found = await anyio.run_process(["pgrep", "-f", left], check=False)
    assert found.stdout == b""


async def test_there_is_one_session_in_the_life_of_a_process(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with fail_after(100):
        async with muxado.connect(f"exec:{OVER_STDIO} echo") as session:
            await expect_an_echo(session)
    assert "again: [Errno 98] stdin and stdout have carried a session already" in (
        capfd.readouterr().err
    )


@pytest.mark.parametrize(
    ("stdin", "words"),
    [
        ("terminal", "stdin is a terminal, a session needs a pipe or a socket; ssh gives one"),
        ("file", "stdin is a file"),
        ("device", "stdin is a device"),
        ("nothing", "there is no stdin"),
    ],
)
def test_what_can_carry_no_session_is_told(stdin: str, words: str, tmp_path: Path) -> None:
    ends = pty.openpty()
    (tmp_path / "file").write_bytes(b"")
    given = {
        "terminal": lambda: os.dup(ends[1]),
        "file": lambda: os.open(tmp_path / "file", os.O_RDONLY),
        "device": lambda: os.open(os.devnull, os.O_RDONLY),
        "nothing": lambda: os.open(os.devnull, os.O_RDONLY),
    }[stdin]()
    command = ["sh", "-c", 'exec "$@" <&-', "sh"] if stdin == "nothing" else []
    found = subprocess.run(
        [*command, *OVER_STDIO.split(), "echo"],
        stdin=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    for fd in (*ends, given):
        os.close(fd)
    assert found.returncode == 1
    assert words in found.stderr


@pytest.mark.parametrize("stderr", ["another", "the same", "none"])
async def test_stdio_as_one_socket(stderr: str) -> None:
    """As sshd has it, and inetd, where stderr is the same too: the socket's end has to be said, and nobody prints there."""
    ours, theirs = (one.detach() for one in socket.socketpair())
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh"] if stderr == "none" else []
    with fail_after(100):
        child = await anyio.open_process(
            [*command, *OVER_STDIO.split(), "echo"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs if stderr == "the same" else None,
        )
        os.close(theirs)
        async with child:
            async with muxado.client(PipeStream(ours, os.dup(ours))) as session:
                await expect_an_echo(session)
            assert await child.wait() == 0


def test_a_command_is_read_as_a_shell_reads_words_and_no_shell_reads_it() -> None:
    url = "exec:ssh -p 22 'a host' echo $HOME | cat"
    assert parse_url(url).path == url.removeprefix("exec:")
    assert url_of(parse_url(url)) == url
    with pytest.raises(ValueError, match="No closing quotation; expected tcp"):
        parse_url("exec:echo 'x")
    for wrong in ("exec:", "exec: ", "exec:a\0b", "stdio:x", "stdio://"):
        with pytest.raises(ValueError, match="is no address of a session"):
            parse_url(wrong)


async def test_which_side_each_is_for() -> None:
    with pytest.raises(ValueError, match=r"is for connect\(\) only"):
        async with muxado.listen("exec:cat"):
            pytest.fail("listens")


SLOW_READER = """
import sys, time
time.sleep(2)
with open(sys.argv[1], "wb") as file:
    file.write(sys.stdin.buffer.read())
"""


async def test_a_command_that_reads_late_gets_all_before_it_is_ended(tmp_path: Path) -> None:
    """It speaks yamux, and is no muxado_py; it ends when it has read everything."""
    path = tmp_path / "read"
    url = f"exec:{shlex.join([sys.executable, '-c', SLOW_READER, str(path)])}"
    config = muxado.Config(wire="yamux", heartbeat_interval=None)
    async with muxado.connect(url, config=config) as session:
        stream = await session.open_stream()
        await stream.send(b"all of it")
        await stream.aclose()
    assert b"all of it" in path.read_bytes()


async def test_of_a_command_that_does_not_end_it_is_told_that_nobody_knows(tmp_path: Path) -> None:
    url = f"exec:{shlex.join([sys.executable, '-c', SLOW_READER, str(tmp_path / 'read')])}"
    config = muxado.Config(wire="yamux", heartbeat_interval=None, close_timeout=0.1)
    with pytest.raises(muxado.UndeliveredError):
        async with muxado.connect(url, config=config) as session:
            stream = await session.open_stream()
            await stream.send(b"all of it")
            await stream.aclose()
