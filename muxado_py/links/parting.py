"""Parting: how a session ends so that what was sent arrives, or the loss is told.

The contract, kept by every link on every backend.  ``Session.aclose``, ``drain`` and the end of a block have
one deadline, ``Config.close_timeout`` from the call, for all of this, in this order:

1. What was written to the streams is cut into frames, as far as the peer's windows let it.
2. The transport takes them, and our goodbye behind them.
3. The transport is shut for writing: by a FIN, or in TLS by the closing alert.
4. The peer's end is awaited; what still comes is read and thrown away.
5. The transport is closed.

What could not be given to the transport by then, what it did not take, and what the peer's kernel did not
acknowledge is counted, and whoever closes is told by an :exc:`~muxado_py.UndeliveredError`.  ``abort`` and
the cancellation of a block give up, and say nothing.  If the session ended by itself, closing it counts
what lay in streams that have raised no error since, and what the transport did not take: of what it had
taken by then nobody knows.

Why the peer's end.  A kernel that has acknowledged everything holds it for a program that may be busy for a
second.  When that wakes up it answers, with credit if with nothing else; a closed socket answers
that with RST, which destroys what lies in *our* kernel, and which event loops take for the end before they
have read what lies in the other.  So nothing may be closed while anything may still come.

Who is waited for.  A muxado_py ends when we do, and so do programs that speak muxado or yamux: their end is
awaited, however long they are busy.  Those of smux need not: there the kernel is asked until everything is
acknowledged, and the end is given a moment.  So it is where the transport cannot be shut for writing, and
with a peer that said goodbye first: it ends without being asked.  Where nobody can ask a kernel, a transport
that took something counts as having delivered it; there only the end of a muxado_py is awaited, and its
missing by the deadline is a doubt that is told.  A command is ended with its session, and with it what it holds and
nobody can ask for: it is waited for, and doubted, as if it were one, unless it speaks smux.
"""

from __future__ import annotations

from typing import Protocol

from anyio import Event, move_on_after

__all__ = ("GOODBYE_WAIT", "Leaving", "part", "part_in_fault")

GOODBYE_WAIT = 0.25
"""Seconds for an exchange with a peer that owes us none; Go's budget."""

FAULT_WAIT = 4 * GOODBYE_WAIT
"""Seconds in which the transport should take the last word of a session that nothing is owed to."""

KERNEL_POLL = 0.02
"""Seconds until the kernel is asked again: nothing wakes a task when bytes are acknowledged."""


class Leaving(Protocol):
    """What a link can do at the end of its session."""

    input_over: Event
    """The transport has nothing more to give."""

    async def flushed(self) -> None:
        """Wait until the transport has taken all that there is to say, or never will."""

    async def send_end(self) -> bool:
        """Shut the transport for writing; whether that could be done."""

    def unacknowledged(self) -> int | None:
        """How many bytes the peer's kernel has not acknowledged; None if that is not known, or never will be."""


async def part(
    link: Leaving, *, ended_here: bool, is_muxado_py: bool, answers_end: bool, ends_with_us: bool
) -> None:
    """Steps 2 to 4; the caller bounds them in time, and closes the transport.

    :param ended_here: whether this side ends the session, without the peer's goodbye.
    :param is_muxado_py: whether the peer is a muxado_py.
    :param answers_end: whether programs on this wire end when we do.
    :param ends_with_us: whether the transport is a program that ends with the session.
    """
    await link.flushed()
    # A FIN makes programs of Go end at once, with the streams that they have not accepted yet: so they are given a
    # moment before it, which a muxado_py does not need.
    if ended_here and not is_muxado_py:
        with move_on_after(GOODBYE_WAIT):
            await link.input_over.wait()
    shut = await link.send_end()
    asked = link.unacknowledged()
    if (
        ended_here
        and shut
        and (is_muxado_py or (answers_end and (ends_with_us or asked is not None)))
    ):
        await link.input_over.wait()
        await _acknowledged(link)
    else:
        await _acknowledged(link)
        if ended_here or shut:
            with move_on_after(GOODBYE_WAIT if ended_here else FAULT_WAIT):
                await link.input_over.wait()


async def part_in_fault(link: Leaving) -> None:
    """The same where nothing is owed: the session failed, or the peer said that it is through."""
    with move_on_after(FAULT_WAIT):
        await link.flushed()
    if not link.input_over.is_set():
        await link.send_end()
        with move_on_after(GOODBYE_WAIT):
            await link.input_over.wait()


async def _acknowledged(link: Leaving) -> None:
    """Wait until nothing of ours is in flight, as far as the kernel can tell."""
    while link.unacknowledged():
        with move_on_after(KERNEL_POLL):
            await (Event() if link.input_over.is_set() else link.input_over).wait()
