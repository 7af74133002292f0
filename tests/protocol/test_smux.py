"""Flow control as smux has it: totals and a window that shrinks, or nothing but a full session.

``V`` in a frame stands for the version.  What a peer does is written out in its bytes; what takes time
runs on a virtual clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from anyio import create_task_group, current_time, fail_after, sleep

import muxado_py as muxado
from muxado_py import Config, ErrorCode

from .. import virtual_time
from ..check_byte_stream import receive_all, receive_exactly
from ..helpers.pair import Pair, Script, read_all
from ..helpers.played import played
from ..transports import memory_transports

if TYPE_CHECKING:
    from muxado_py.protocol.stream_state import StreamState

    from ..conftest import SessionPair

KIB = 1024
WINDOW = 256 * KIB
SMUX2 = Config(wire="smux2")


@pytest.fixture(params=virtual_time.BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_time.backend(request.param)


def opened(nbytes: int) -> tuple[Script, StreamState]:
    """Our stream 3, with ``nbytes`` written; its SYN and its first window went out."""
    peer = Script(SMUX2, client=True)
    stream = peer.connection.open(None, None)
    peer.connection.write(stream, bytes(nbytes))
    assert payload(peer) == min(nbytes, WINDOW)
    return peer, stream


def payload(peer: Script) -> int:
    """How many bytes of data we have to send now."""
    return sum(len(frame.split()[4]) // 2 for frame in peer.sent() if frame.split()[1] == "02")


def update(total: int, window: int) -> bytes:
    """The peer has read ``total`` bytes of stream 3, and takes ``window`` beyond them."""
    words = (total.to_bytes(4, "little"), window.to_bytes(4, "little"))
    return bytes.fromhex("02 04 0800 03000000") + b"".join(words)


# Version 2, as a sender.


def test_the_first_update_can_only_shrink_what_go_began_with() -> None:
    """262144 bytes may go before any; then a Go reader says its own MaxStreamBuffer, 65536."""
    peer, stream = opened(WINDOW + 100_000)
    peer.feed(update(10, 65536))
    assert (payload(peer), stream.send_window) == (0, 65536 - (WINDOW - 10))
    peer.feed(update(WINDOW - 65536, 65536))
    assert payload(peer) == 0
    peer.feed(update(WINDOW - 65536 + 1, 65536))
    assert payload(peer) == 1
    peer.feed(update(WINDOW + 1, 65536))
    assert payload(peer) == 65536
    assert not peer.ended


def test_an_update_before_any_read_sets_the_window() -> None:
    peer, _ = opened(2 * WINDOW)
    peer.feed(update(0, WINDOW + 7))
    assert payload(peer) == 7


def test_totals_wrap_at_4_gib() -> None:
    peer, stream = opened(WINDOW)
    # As if 4 GiB less 100 bytes had gone before what is on its way, all of them read.
    stream.total_credit = 2**32 - 100 + WINDOW + stream.send_window
    peer.connection.write(stream, bytes(WINDOW))
    peer.feed(update(2**32 - 100 + 50, WINDOW))
    assert payload(peer) == 50
    peer.feed(update(WINDOW - 100, WINDOW))
    assert payload(peer) == WINDOW - 50


@pytest.mark.parametrize(
    ("total", "window"),
    [(WINDOW + 1, 65536), (0, 2**31), (0, 2**32 - 1)],
)
def test_an_update_that_cannot_be_ends_its_stream_and_nothing_else(total: int, window: int) -> None:
    """Go's writer fails from then on, or hangs for ever where the window is above 2^31-1."""
    peer, stream = opened(2 * WINDOW)
    peer.feed(update(total, window))
    failure = stream.failure
    assert failure is not None
    assert failure.code == ErrorCode.FLOW_CONTROL_ERROR
    assert peer.sent() == ["02 01 0000 03000000"]
    assert not peer.ended


# Version 2, as a receiver.


@pytest.mark.parametrize("step", [1000, 40_000, 131_072, 200_000])
def test_a_sender_that_uses_all_it_is_told_is_never_reset(step: int) -> None:
    """Whatever is read between a credit and the flush that tells of it."""
    pair = Pair(SMUX2)
    sender, receiver = pair.client, pair.server
    near = sender.open(None, None)
    sender.write(near, bytes(8 * WINDOW))
    pair.run_until_idle()
    far = receiver.accept()
    assert far is not None
    read = 0
    while read < 8 * WINDOW:
        for _ in range(3):
            read += len(receiver.read(far, step))
        receiver.timeouts.age_delays()
        receiver.timeouts.age_delays()
        pair.run_until_idle()
        assert far.failure is None
        assert receiver.unread <= WINDOW


def test_more_than_the_window_ends_the_stream_and_nothing_else() -> None:
    """Go does not look; a sender that keeps to the totals never gets here."""
    peer = Script(SMUX2)
    peer.feed("02 00 0000 03000000")
    stream = peer.accept()
    chunk = bytes.fromhex("02 02 0080 03000000") + bytes(32 * KIB)
    peer.feed(chunk * 8)
    assert stream.failure is None
    peer.feed("02 02 0100 03000000 61")
    assert stream.failure is not None
    assert stream.failure.code == ErrorCode.FLOW_CONTROL_ERROR
    assert not peer.ended


def test_a_larger_window_is_told_when_an_application_has_the_stream() -> None:
    peer = Script(Config(wire="smux2", stream_window=2**20))
    peer.feed("02 00 0000 03000000 02 02 0100 03000000 61")
    assert peer.sent() == []
    peer.accept()
    assert peer.sent() == ["02 04 0800 03000000 0000000000001000"]


# Version 1: nothing but a full session.


@pytest.mark.anyio
async def test_a_full_session_stops_reading_and_loses_nothing(session_pair: SessionPair) -> None:
    config = Config(wire="smux1", session_window=64 * KIB)
    data = bytes(range(256)) * 8 * KIB
    async with session_pair(config) as (dialed, accepted), create_task_group() as tasks:
        near = await dialed.open_stream()

        async def send() -> None:
            await near.send(data)
            await near.aclose()

        tasks.start_soon(send)
        far = await accepted.accept_stream()
        await sleep(1)
        # The bound, and what one read of the transport brought beyond it.
        assert 64 * KIB < accepted.statistics().unread < 192 * KIB
        received = accepted.statistics().bytes_received
        await sleep(1)
        assert accepted.statistics().bytes_received == received
        assert await receive_all(far) == data


@pytest.mark.anyio
async def test_whatever_frees_the_session_lets_it_read_on(session_pair: SessionPair) -> None:
    """Reading one stream, closing another, resetting a third."""
    config = Config(wire="smux1", session_window=64 * KIB)
    async with session_pair(config) as (dialed, accepted), create_task_group() as tasks:
        ours = [await dialed.open_stream() for _ in range(3)]
        theirs = []
        for number, stream in enumerate(ours):
            await stream.send(b"%d" % number)
            theirs.append(await accepted.accept_stream())
        for free in (
            lambda: theirs[0].receive_nowait(2**20),
            lambda: theirs[1].close(),
            lambda: theirs[2].reset(),
        ):
            tasks.start_soon(ours.pop(0).send, bytes(100 * KIB))
            await sleep(1)
            assert accepted.statistics().unread > 64 * KIB
            free()
            await sleep(1)
            assert accepted.statistics().unread < 64 * KIB
            await call(dialed, accepted)


async def call(dialed: muxado.Session, accepted: muxado.Session) -> None:
    """A byte on a stream of its own gets through."""
    async with await dialed.open_stream() as stream:
        await stream.send(b"!")
        async with await accepted.accept_stream() as other:
            assert await receive_exactly(other, 1) == b"!"


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_session_that_does_not_read_judges_no_silence() -> None:
    """While it does not, and not by the length of the pause when it reads on."""
    config = Config(wire="smux1", session_window=64 * KIB)
    async with played(config) as (session, peer):
        await peer.say("01 00 0000 03000000")
        for _ in range(3):
            await peer.say("01 02 0080 03000000" + "61" * 0x8000)
        stream = await session.accept_stream()
        await sleep(3600)
        assert not session.closed
        assert session.statistics().unread == 96 * KIB
        assert await receive_exactly(stream, 96 * KIB) == b"a" * 96 * KIB
        await sleep(9)  # the next NOP may take an interval
        assert not session.closed
        await peer.say("01 02 0200 03000000 6f6b")
        assert await stream.receive() == b"ok"
        start = current_time()
        with pytest.raises(muxado.PeerTimeoutError), fail_after(3600):
            await stream.receive()
        assert current_time() - start >= 25


@pytest.mark.anyio
async def test_a_read_that_leaves_nothing_else_to_do_lets_a_full_session_read_on() -> None:
    """The pause began with the last byte that had come, so that nothing is left to decode."""
    config = Config(
        wire="smux1",
        session_window=64 * KIB,
        heartbeat_interval=None,
        # Nothing else may rouse the session meanwhile.
        heartbeat_timeout=1e4,
        write_timeout=1e4,
        probe_interval=1e4,
        linger_timeout=1e4,
        accept_timeout=2e4,
        discard_timeout=2e4,
        stall_timeout=2e4,
    )
    async with played(config) as (session, peer):
        await peer.say("01 00 0000 03000000")
        for _ in range(3):
            await peer.say("01 02 0080 03000000" + "61" * 0x8000)
        stream = await session.accept_stream()
        await sleep(1)
        assert len(await stream.receive(2**20)) == 96 * KIB
        await peer.say("01 02 0400 03000000 6d6f7265")
        with fail_after(60):
            assert await stream.receive() == b"more"


@pytest.mark.anyio
async def test_a_full_session_still_writes_and_ends() -> None:
    """What it has to say goes out while it does not read, and closing it waits for nobody."""
    config = Config(wire="smux1", session_window=64 * KIB, heartbeat_interval=None)
    async with played(config) as (session, peer):
        await peer.say("01 00 0000 03000000")
        for _ in range(3):
            await peer.say("01 02 0080 03000000" + "61" * 0x8000)
        stream = await session.accept_stream()
        await stream.send(b"busy")
        assert await peer.next() == "01 02 0400 03000000 62757379"
        with fail_after(2):
            await session.aclose()


def test_the_data_of_many_frames_in_one_read_is_not_lost_by_a_pause() -> None:
    """What a full session has received and not decoded is decoded when there is room."""
    peer = Script(Config(wire="smux1", session_window=64 * KIB))
    peer.feed("01 00 0000 03000000" + ("01 02 0080 03000000" + "61" * 0x8000) * 8)
    stream = peer.accept()
    assert not peer.connection.may_read()
    assert peer.connection.unread == 96 * KIB
    assert read_all(peer.connection, stream, 10_000) == b"a" * 256 * KIB
    assert peer.connection.may_read()


# Half closed, then reset.


@pytest.mark.parametrize("wire", ["smux1", "smux2"])
def test_a_stream_that_was_half_closed_and_reset_does_not_stay_open(wire: str) -> None:
    peer = Script(Config(wire=wire, half_close=True))
    peer.feed(f"0{wire[-1]} 00 0000 03000000")
    stream = peer.accept()
    peer.connection.finish(stream)
    for _ in range(2):
        peer.connection.timeouts.age_delays()
    assert peer.sent() == [f"0{wire[-1]} 01 0000 03000000"]
    peer.connection.reset(stream, ErrorCode.STREAM_CANCELLED)
    assert peer.sent() == []
    assert peer.connection.live_streams == 0


@pytest.mark.anyio
@pytest.mark.parametrize("wire", ["smux1", "smux2"])
async def test_two_listening_sides_tell_each_other_what_is_wrong(wire: str) -> None:
    """Both ends made as servers: the first SYN has the parity of its receiver."""
    near, far = memory_transports()
    config = Config(wire=wire)
    async with muxado.server(near, config) as one, muxado.server(far, config) as other:
        stream = await one.open_stream()
        await stream.send(b"?")
        with pytest.raises(muxado.ProtocolError, match="are both ends servers"):
            await other.accept_stream()
