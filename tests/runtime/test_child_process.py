"""A command as a stream: what it says, how it ended, and that it has ended when the stream has."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import anyio
import pytest
from anyio import BrokenResourceError, aclose_forcefully, fail_after

from muxado_py.runtime.child_process import CommandStream, open_command

from ..check_byte_stream import receive_all, receive_exactly

pytestmark = pytest.mark.anyio


async def python(code: str, *arguments: str) -> CommandStream:
    return await open_command([sys.executable, "-c", code, *arguments])


async def pid_from(stream: CommandStream) -> int:
    """What a command prints first, in a line."""
    line = b""
    with fail_after(60):
        while not line.endswith(b"\n"):
            line += await receive_exactly(stream, 1)
    return int(line)


async def expect_gone(pid: int) -> None:
    with fail_after(60):
        while _is_running(pid):  # noqa: ASYNC110 - nobody waits for a process that is no child
            await anyio.sleep(0.01)


def _is_there(pid: int) -> bool:
    """Whether it runs, or is a zombie."""
    return Path(f"/proc/{pid}").exists()


def _is_running(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


async def test_what_is_sent_is_its_stdin_and_its_stdout_is_received() -> None:
    stream = await open_command(["cat"])
    await stream.send(b"hello")
    assert await receive_exactly(stream, 5) == b"hello"
    await stream.send_eof()
    assert await receive_all(stream) == b""
    await stream.aclose()


async def test_its_stderr_is_ours(capfd: pytest.CaptureFixture[str]) -> None:
    async with await python("import sys; print('a word', file=sys.stderr)") as stream:
        assert await receive_all(stream) == b""
    assert capfd.readouterr().err == "a word\n"


async def test_a_program_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        await open_command(["no-such-program-anywhere"])


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("print('x', end=''); raise SystemExit(7)", "ended with exit code 7"),
        ("import os; os.write(1, b'x'); os.kill(os.getpid(), 9)", "ended by signal 9"),
    ],
)
async def test_how_it_ended_is_told_behind_what_it_said(code: str, words: str) -> None:
    async with await python(code) as stream:
        assert await stream.receive() == b"x"
        with pytest.raises(BrokenResourceError, match=words) as info:
            await stream.receive()
        assert str(info.value).startswith(sys.executable)
        with pytest.raises(BrokenResourceError, match=words):
            await stream.send(bytes(1_000_000))


@pytest.mark.parametrize("forcefully", [False, True])
@pytest.mark.parametrize("how", ["SIG_DFL", "SIG_IGN"])
async def test_no_process_is_left_that_reads_no_end(forcefully: bool, how: str) -> None:
    """Nor one that it has started, unless it gave that away."""
    code = (
        f"import os, signal, subprocess, time; signal.signal(signal.SIGTERM, signal.{how})\n"
        "child = subprocess.Popen(['sleep', '1000'])\n"
        "print(child.pid, flush=True); time.sleep(1000)"
    )
    stream = await python(code)
    child = await pid_from(stream)
    leader = os.getpgid(child)
    await (aclose_forcefully(stream) if forcefully else stream.aclose())
    await expect_gone(child)
    assert not _is_there(leader)


@pytest.mark.parametrize("trap", ["", "trap '' TERM; "])
async def test_what_a_command_leaves_in_the_background_ends_too(trap: str) -> None:
    """It has both pipes, so there is no end to read, and the command itself has ended well long ago."""
    stream = await open_command(["sh", "-c", f"{trap}sleep 1000 <&0 & echo $!; exit 0"])
    child = await pid_from(stream)
    with anyio.move_on_after(0.05) as scope:
        await stream.receive()
    assert scope.cancelled_caught
    with fail_after(60):
        await stream.aclose()
    await expect_gone(child)


async def test_the_end_of_its_stdout_is_heard_though_it_runs_on() -> None:
    async with await python("import os, time; os.close(1); time.sleep(1000)") as stream:
        with fail_after(60):
            assert await receive_all(stream) == b""


async def test_the_end_of_a_command_is_heard_though_it_left_something_that_says_nothing() -> None:
    helper = "sleep 1000 </dev/null >/dev/null 2>&1 & echo $!; exit 7"
    async with await open_command(["sh", "-c", helper]) as stream:
        child = await pid_from(stream)
        with fail_after(60), pytest.raises(BrokenResourceError, match="ended with exit code 7"):
            await stream.receive()
    await expect_gone(child)


async def test_who_has_the_pid_of_one_that_is_gone_is_not_signalled() -> None:
    """The system gives a pid to another when its process and all of its group are gone."""
    async with await anyio.open_process(["sleep", "1000"], start_new_session=True) as stranger:
        await CommandStream(Gone(stranger.pid), ["true"], *os.pipe()).aclose()
        stranger.kill()
        assert await stranger.wait() == -signal.SIGKILL  # and not of an earlier signal


class Gone(NamedTuple):
    """A process that has ended."""

    pid: int
    returncode: int = 0

    async def wait(self) -> int:
        return self.returncode


async def test_one_that_has_become_somebody_elses_is_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As sudo's does."""

    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    async with await anyio.open_process(["sleep", "1000"], start_new_session=True) as process:
        with monkeypatch.context() as patched:
            patched.setattr(os, "kill", refuse)
            patched.setattr(os, "killpg", refuse)
            with fail_after(60):
                await CommandStream(process, ["sudo"], *os.pipe()).aclose()
        assert process.returncode is None
        process.kill()


async def test_one_that_ends_by_itself_is_not_asked_to() -> None:
    code = (
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('asked', file=sys.stderr, flush=True))\n"
        "print('ready', flush=True); sys.stdin.read()"
    )
    stream = await python(code)
    await receive_exactly(stream, 6)
    await stream.send_eof()
    assert await receive_all(stream) == b""
    await stream.aclose()


async def test_a_cancelled_start_leaves_nothing() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for delay in (0, 0, 0.0001, 0.001, 0.01):
        with anyio.move_on_after(delay):
            async with await open_command(["sleep", "1000"]) as stream:
                with suppress(BrokenResourceError):
                    await stream.receive()
    assert len(os.listdir("/proc/self/fd")) <= before + 3  # the loop's own, for children
    found = await anyio.run_process(["ps", "--ppid", str(os.getpid()), "-o", "args="])
    assert b"sleep 1000" not in found.stdout


async def test_a_signal_of_the_terminal_is_not_for_it() -> None:
    stream = await python("import os; print(os.getsid(0), flush=True); input()")
    sid = await pid_from(stream)
    assert sid != os.getsid(0)
    os.killpg(sid, signal.SIGKILL)
    with pytest.raises(BrokenResourceError, match="by signal 9"):
        await stream.receive()
    await stream.aclose()
