"""The receiving side on its own: what a decoder of any wire may tell it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from muxado_py import Config, Retry
from muxado_py.errors import ErrorCode
from muxado_py.frames.muxado import Muxado

from ..helpers.pair import Pair, Script, read_all

if TYPE_CHECKING:
    from muxado_py.frames import Receiver
    from muxado_py.frames.wire import Decoder


@pytest.fixture
def receivers(monkeypatch: pytest.MonkeyPatch) -> list[Receiver]:
    """Whom the decoders call that are made from now on."""
    made: list[Receiver] = []
    decoder = Muxado.decoder

    def make(receiver: Receiver) -> Decoder:
        made.append(receiver)
        return decoder(receiver)

    monkeypatch.setattr(Muxado, "decoder", staticmethod(make))
    return made


def test_a_stream_that_was_taken_cannot_be_refused_any_more(receivers: list[Receiver]) -> None:
    peer = Script(client=True)
    stream = peer.connection.open(None, None)
    peer.sent()
    [receiver] = receivers
    receiver.acknowledged(99, True)
    receiver.acknowledged(3, True)
    peer.feed("000004 00 00000003 00000005")
    assert stream.retry is Retry.UNKNOWN


def test_only_the_first_violation_ends_the_session() -> None:
    peer = Script()
    # In one piece: a SYN of our parity, and a credit frame that is too long.
    peer.feed("000000 12 00000002 000005 20 00000003 0000000000")
    assert peer.ended_code == ErrorCode.PROTOCOL_ERROR
    assert len(peer.sent()) == 2
    peer.feed("000005 20 00000003 0000000000")
    assert peer.ended_code == ErrorCode.PROTOCOL_ERROR
    assert peer.sent() == []


def test_a_violation_says_what_was_wrong_to_both_sides() -> None:
    peer = Script()
    peer.feed("000003 00 00000003 000000")
    goaway, _pad = peer.sent()
    assert bytes.fromhex(goaway.split()[3])[8:] == b"RST of 3 bytes, expected 4"
    ended = peer.connection.events.failure
    assert ended is not None
    assert ended.message == "the peer broke the protocol: RST of 3 bytes, expected 4"
    assert not ended.remote


def test_the_last_id_of_a_violation_is_the_last_that_was_taken() -> None:
    """Streams that nobody had taken were never seen: a muxado_py peer may send them again."""
    peer = Script(extended=True)
    peer.feed("000000 12 00000003 000000 12 00000005 000000 12 00000007")
    peer.accept()
    peer.accept()
    peer.feed("000000 12 00000002")
    (goaway,) = [frame for frame in peer.sent() if frame[7] == "3"]
    assert goaway.split()[3][:8] == "00000005"
    assert peer.connection.accept() is None


def test_a_reset_stream_takes_no_more_bytes() -> None:
    """rust-yamux once mixed them into what had arrived before."""
    peer = Script(Config())
    peer.feed("000002 12 00000003 6162")
    stream = peer.accept()
    peer.feed("000004 00 00000003 00000006 000002 10 00000003 6364")
    assert peer.connection.read(stream, 99) == b"ab"
    assert peer.sent() == ["000004 00 00000003 00000004"]


def test_a_text_that_is_no_utf8_is_shown_all_the_same() -> None:
    peer = Script(client=True)
    stream = peer.connection.open(None, None)
    peer.sent()
    peer.feed("00000b 30 00000000 00000000 00000002 ff6f6b")
    assert str(stream.error()) == "the peer ended the session, INTERNAL_ERROR(2): \ufffdok"


def test_a_goodbye_without_a_text() -> None:
    peer = Script(client=True)
    stream = peer.connection.open(None, None)
    peer.feed("000008 30 00000000 00000000 00000000")
    assert str(stream.error()) == "the peer is going away: no reason given"
    assert stream.retry is Retry.NEVER_SENT


def test_who_waits_to_accept_or_to_know_the_peer_is_told() -> None:
    peer = Script()
    events = peer.connection.events
    events.pending = False  # the hello, which waits to be sent
    peer.feed("000004 20 00000003 00000001")
    assert (events.pending, events.offered) == (True, False)
    events.pending = False
    peer.feed("000000 12 00000003")
    assert (events.pending, events.offered) == (True, True)


def test_who_waits_for_a_type_is_not_told_before_it_is_here() -> None:
    peer = Script(Config(typed_streams=True))
    peer.feed("000003 12 00000003 000000")
    assert not peer.connection.events.offered
    peer.feed("000001 10 00000003 07")
    assert peer.connection.events.offered


# Windows.


def test_a_read_of_nothing_gives_no_credit_that_settings_give_again() -> None:
    pair = Pair(Config(initial_window=10, stream_window=30))
    near = pair.client.open(None, None)
    pair.pump(pair.client)
    assert pair.client.read(near, 1) == b""
    pair.run_until_idle()
    far = pair.server.accept()
    assert far is not None
    assert (far.send_window, near.recv_window) == (30, 30)


def test_the_window_is_exact() -> None:
    peer = Script(Config(initial_window=10, stream_window=10))
    peer.feed("000009 12 00000003 000000000000000000")
    stream = peer.accept()
    peer.feed("000001 10 00000003 00")
    assert (stream.failure, stream.recv_window) == (None, 0)
    peer.feed("000001 10 00000003 00")
    assert peer.sent() == ["000004 00 00000003 00000003"]
    assert stream.failure is not None


def test_an_announced_frame_is_judged_whole_and_not_counted() -> None:
    peer = Script(Config(initial_window=10, stream_window=10))
    peer.feed("000001 12 00000003 00")
    stream = peer.accept()
    peer.feed("00000a 10 00000003 00")
    assert peer.sent() == ["000004 00 00000003 00000003"]
    # The byte that came whole before is still to be read.
    assert (stream.recv_window, stream.unread) == (9, 1)


@pytest.mark.parametrize("window", [256 * 1024, 2**20])
def test_a_type_is_read_without_a_word_to_the_peer(window: int) -> None:
    """Credit for it would be the first that the opener hears, and a refusal no refusal any more."""
    pair = Pair(Config(wire="yamux", typed_streams=True, stream_window=window))
    pair.open(stream_type=7)  # the opener learns that streams are acknowledged when they are taken
    pair.run_until_idle()
    second = pair.client.open(None, 7)
    pair.client.write(second, b"x")
    pair.run_until_idle()
    pair.server.stop_accepting()
    pair.run_until_idle()
    assert second.retry is Retry.REFUSED


@pytest.mark.parametrize("wire", ["muxado", "yamux", "smux2"])
def test_the_bytes_of_a_type_are_credited_with_what_is_read_later(wire: str) -> None:
    window = 256 * 1024
    pair = Pair(Config(wire=wire, typed_streams=True))
    near, far = pair.open(b"x" * (window - 4), stream_type=7)
    assert near.send_window == 0
    assert read_all(pair.server, far) == b"x" * (window - 4)
    pair.run_until_idle()
    for side in (pair.client, pair.server):
        side.timeouts.age_delays()
    pair.run_until_idle()
    assert near.send_window == window
