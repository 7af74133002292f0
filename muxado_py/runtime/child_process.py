"""Child processes: a command as a byte stream, which lasts as long as that does.

What it is.  The child's stdin is what is sent and its stdout what is received; its stderr is this process's own.  When the stream
is closed the process is ended, and when the process has ended badly the stream says so, with the exit code.

The rules.  No process is left behind, whoever closes the stream and however: it has a moment to end by itself, for both of its
pipes are closed; then it is asked to, with whatever it has started; then it is killed.  What it has started may outlive it, as a shell's
``&`` does, and goes the same way; what that has taken into a session of its own, as daemons do, stays.

Why a session of the system's of its own.  A Ctrl-C at the terminal goes to all processes in its foreground, and would end the
transport of a side that has just begun to stop in order.  So a command has no terminal, and cannot ask anything there.

The trap.  The end of its stdout comes before the end of the process, and only that has the exit code.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from anyio import BrokenResourceError, CancelScope, EndOfStream, move_on_after, open_process, sleep

from .checkpoints import event_loop
from .pipes import PipeStream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ("CommandStream", "open_command")

EXIT_WAIT = 1.0
"""Seconds that a process which has closed its stdout may take to end, and so to say with which code."""

LEAVE_WAIT = 0.25
"""Seconds in which a process ends by itself whose pipes are closed, or which was asked to."""

GROUP_POLL = 0.01
"""Seconds until it is looked again whether any of its group is there: nobody is told when a process ends that is no child."""


class Process(Protocol):
    """What anyio's processes and asyncio's have in common."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    async def wait(self) -> int: ...


async def open_command(arguments: Sequence[str]) -> CommandStream:
    """Start a program, found as a shell finds it, and without one.

    :raises OSError: if there is no such program, or it cannot be started.

    Cancellation: nothing is left running.
    """
    child_reading, writing = os.pipe()
    reading, child_writing = os.pipe()
    try:
        process = await _start(arguments, child_reading, child_writing)
    except BaseException:
        os.close(writing)
        os.close(reading)
        raise
    finally:
        os.close(child_reading)
        os.close(child_writing)
    return CommandStream(process, arguments, reading, writing)


async def _start(arguments: Sequence[str], stdin: int, stdout: int) -> Process:
    loop = event_loop()
    if loop is None or isinstance(loop, asyncio.BaseEventLoop):
        return await open_process(
            arguments, stdin=stdin, stdout=stdout, stderr=None, start_new_session=True
        )
    # uvloop leaves the child a second descriptor of each, which neither the child knows nor what it starts: to close its stdout,
    # or to end while something of it is in the background, would be no end here.
    return await asyncio.create_subprocess_exec(
        *arguments, stdin=stdin, stdout=stdout, start_new_session=True, preexec_fn=_pass_nothing
    )


def _pass_nothing() -> None:
    """In the child, before the program: it gets its stdin, stdout and stderr, and no other descriptor."""
    for name in os.listdir("/dev/fd"):
        with suppress(OSError):  # that of the folder
            os.set_inheritable(int(name), False)


def _found(kill: Callable[[int, int], None], pid: int, number: int) -> bool:
    """Send a signal, or none; whether there is anybody."""
    try:
        kill(pid, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # it has become somebody else's, as sudo does
        return True
    return True


class CommandStream(PipeStream):
    """What :func:`open_command` gives."""

    def __init__(
        self, process: Process, arguments: Sequence[str], reading: int, writing: int
    ) -> None:
        super().__init__(reading, writing)
        self._process = process
        self._name = shlex.join(arguments)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        try:
            return await super().receive(max_bytes)
        except EndOfStream:
            if failure := await self._failure():
                raise BrokenResourceError(failure) from None
            raise

    async def send(self, item: bytes) -> None:
        try:
            await super().send(item)
        except BrokenResourceError as exc:
            if failure := await self._failure():
                raise BrokenResourceError(failure) from exc
            raise

    async def _failure(self) -> str:
        """How the process ended, if it ended badly."""
        with move_on_after(EXIT_WAIT):
            await self._process.wait()
        code = self._process.returncode
        if not code:
            return ""
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        return f"{self._name:.200} ended {how}"

    async def aclose(self) -> None:
        try:
            await super().aclose()
            with move_on_after(LEAVE_WAIT):
                await self._all_ended()
        finally:
            with CancelScope(shield=True):
                for number in (signal.SIGTERM, signal.SIGKILL):
                    if self._reaches(number):
                        with move_on_after(LEAVE_WAIT):
                            await self._all_ended()
                await self._kill()

    async def _all_ended(self) -> None:
        await self._process.wait()
        while self._reaches(0):  # noqa: ASYNC110 - see GROUP_POLL
            await sleep(GROUP_POLL)

    async def _kill(self) -> None:
        """Wait for a process that nothing can keep, if it is there still."""
        if self._process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            try:
                os.kill(self._process.pid, signal.SIGKILL)
            except PermissionError:  # see _reaches; it may stay for ever
                return
        await self._process.wait()

    def _reaches(self, number: int) -> bool:
        """Send a signal, or none, to the process and to all that it has started; whether there is anybody."""
        # Its pid is that of its group, and nobody else's while it has not been waited for, or one of the group is there.
        # So a process that has that pid afterwards is a stranger, and none of the group is left.
        pid = self._process.pid
        if self._process.returncode is not None and _found(os.kill, pid, 0):
            return False
        return _found(os.killpg, pid, number)
