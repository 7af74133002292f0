"""Conversation: what one application does with one stream.

The rule.  It says in the ledger how it ends what it sends *before* it does so, and what it has read when it
has it: a run may be over at any ``await``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import (
    BusyResourceError,
    EndOfStream,
    Event,
    create_task_group,
    move_on_after,
    sleep,
)

from muxado_py import MuxadoError

from .ledger import Half, Ledger, content

if TYPE_CHECKING:
    from muxado_py import Stream

    from .plan import HalfPlan

__all__ = ("Conversation", "OnPurposeError")


class OnPurposeError(Exception):
    """What a block is left by."""


class Conversation:
    """One application and one stream."""

    def __init__(self, ledger: Ledger, half: Half, stream: Stream, plan: HalfPlan) -> None:
        self._ledger = ledger
        self._half = half
        self._stream = stream
        self._plan = plan

    async def run(self) -> None:
        """From the stream's begin to its end."""
        half, stream, plan = self._half, self._stream, self._plan
        self._ledger.all_done_since = None
        try:
            async with stream, create_task_group() as tasks:
                if plan.meddles:
                    half.meddled = True
                    tasks.start_soon(self._meddle)
                read = Event()
                tasks.start_soon(self._read, read)
                await self._write()
                if plan.end == "none" and plan.stop == "never":
                    await sleep(3.0)
                await self._finish(read)
        except OnPurposeError:
            half.finish = half.finish or "reset"
        except BaseExceptionGroup as group:
            half.finish = half.finish or "reset"
            rest = group.split(OnPurposeError)[1]
            if rest is not None:
                raise rest from None
        except BaseException:
            half.finish = half.finish or "reset"  # the block was left by a cancellation
            half.read_end = half.read_end or "here"
            raise
        finally:
            half.done = True
            half.finish = half.finish or "close"
            half.read_end = half.read_end or "here"
            half.finished_at = half.finished_at or self._ledger.clock.now
            self._ledger.look_whether_done()

    async def _meddle(self) -> None:
        half, stream = self._half, self._stream
        for _ in range(3):
            await sleep(0.2)
            try:
                stream.set_callbacks(None, None)
            except (BusyResourceError, MuxadoError) as exc:
                self._ledger.note(half.name, f"set_callbacks: {exc!r}")
            else:
                self._ledger.note(half.name, "set_callbacks(None, None)")

    async def _write(self) -> None:
        half, stream, plan = self._half, self._stream, self._plan
        base = 2 * half.number + half.side
        try:
            while half.sent < plan.sends:
                data = content(base, half.sent, min(plan.piece, plan.sends - half.sent))
                last = half.sent + len(data) == plan.sends
                half.sent_most = half.sent + len(data)
                if plan.end == "cancel" and last:
                    with move_on_after(0.05) as scope:
                        await self._ledger.call(half, f"send {len(data)} B", stream.send(data))
                    if scope.cancelled_caught:
                        return
                elif plan.nowait:
                    data = data[: stream.send_nowait(data)]
                    half.sent_most = half.sent + len(data)
                    self._ledger.note(half.name, f"send_nowait: {len(data)} B")
                    if not data:
                        await sleep(0.05)
                else:
                    await self._ledger.call(half, f"send {len(data)} B", stream.send(data))
                half.sent += len(data)
                if plan.send_pause:
                    await sleep(plan.send_pause)
        except MuxadoError as exc:
            half.error = half.error or exc

    async def _finish(self, read: Event) -> None:
        half, stream, plan = self._half, self._stream, self._plan
        if half.error is not None:
            await read.wait()
            return
        half.finished_at = self._ledger.clock.now
        try:
            if plan.end == "eof":
                await self._ledger.call(half, "send_eof", stream.send_eof())
                half.finish = "eof"
                await read.wait()
            elif plan.end in ("late close", "none"):
                await read.wait()
                half.finished_at = self._ledger.clock.now
            elif plan.end == "reset":
                self._say_reset()
                half.read_end = half.read_end or "here"
                stream.reset()
            if plan.end == "error":
                raise OnPurposeError
            self._say_closed()
            await self._ledger.call(half, "aclose", stream.aclose())
        except MuxadoError as exc:
            half.error = exc

    def _say_closed(self) -> None:
        half = self._half
        if not half.finish:
            half.finish = "close"
            half.read_end = half.read_end or "here"
            self._ledger.note(half.name, "closes")

    def _say_reset(self) -> None:
        half = self._half
        half.finish = "reset"  # also behind a close, whose flush it stops
        self._ledger.note(half.name, "resets")

    async def _read(self, read: Event) -> None:
        half, plan = self._half, self._plan
        try:
            await sleep(plan.read_at)
            await self._read_on()
        except EndOfStream:
            half.read_end = half.read_end or "eof"
        except (MuxadoError, BusyResourceError) as exc:
            half.read_end = half.read_end or type(exc).__name__
            half.read_error = exc
        finally:
            read.set()

    async def _read_on(self) -> None:
        half, stream, plan = self._half, self._stream, self._plan
        stops, patience = plan.stop_at, 10
        while True:
            if stops is not None and len(half.got) >= stops:
                stops = None
                if not await self._stop(plan.stop):
                    return
            with move_on_after(plan.impatient if patience else None):
                half.got += await self._ledger.call(half, "receive", stream.receive(plan.max_bytes))
            patience -= 1
            if plan.read_pause:
                await sleep(plan.read_pause)

    async def _stop(self, how: str) -> bool:
        """Whether to read on."""
        half, stream = self._half, self._stream
        if how == "rest":
            await sleep(5.0)
            return True
        if half.read_end:
            return False
        half.read_end = "here"
        if how == "close":
            half.finish = half.finish or "close"
            half.finished_at = half.finished_at or self._ledger.clock.now
            self._ledger.note(half.name, "closes, having read enough")
            await stream.aclose()
        elif how == "reset":
            self._say_reset()
            stream.reset()
        return False
