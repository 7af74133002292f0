"""What a connection says of its own sizes: that they are what was done to it, and that to look changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from muxado_py import Config, Priority
from muxado_py.frames import WIRES

from ..helpers.pair import Pair, Script

if TYPE_CHECKING:
    from muxado_py.protocol.inspection import Inspection

KIB = 1024


def sizes(inspection: Inspection) -> dict[str, float]:
    """All that is not zero, by name."""
    parts = {**inspection._asdict()}
    known, _ = parts.pop("known"), parts.pop("timers")
    parts["budgets"] = parts["receiving"].budgets
    found = {
        f"{part}.{name}": value
        for part, values in parts.items()
        for name, value in values._asdict().items()
        if name != "budgets" and value
    }
    return {**found, "known": len(known)} if known else found


def differences(before: Inspection, after: Inspection) -> dict[str, float]:
    """What there is more of."""
    old, new = sizes(before), sizes(after)
    changed = {name: new.get(name, 0) - old.get(name, 0) for name in {**old, **new}}
    return {name: by for name, by in changed.items() if by}


def test_a_stream_goes_from_place_to_place() -> None:
    pair = Pair()
    pair.run_until_idle()
    fresh = pair.client.inspect()
    near = pair.client.open(None, None)
    pair.client.write(near, b"hello")
    waiting = pair.client.inspect()
    assert differences(fresh, waiting) == {
        "streams.unopened": 1,
        "streams.local_open": 1,
        "sending.ready": 1,
        "sending.written": 5,
        "sending.unsent": 5,
        "known": 1,
    }
    assert waiting.known == (near,)
    pair.pump(pair.client)
    assert differences(waiting, pair.client.inspect()) == {
        "streams.live": 1,
        "streams.unopened": -1,
        "sending.ready": -1,
        "sending.sent": 5,
        "sending.unsent": -5,
        "sending.session_room": -5,
    }
    before = pair.server.inspect()
    pair.deliver(pair.client)
    arrived = pair.server.inspect()
    assert differences(before, arrived) == {
        "streams.live": 1,
        "streams.backlog": 1,
        "streams.peer_live": 1,
        "streams.peer_open": 1,
        "receiving.received": 5,
        "receiving.unread": 5,
        "known": 1,
    }
    far = pair.server.accept()
    assert far is not None
    pair.client.finish(near)
    pair.server.finish(far)
    pair.run_until_idle()
    assert differences(arrived, pair.server.inspect()) == {
        "streams.live": -1,
        "streams.ended_unread": 1,
        "streams.backlog": -1,
        "streams.peer_live": -1,
    }
    pair.server.read(far, 5)
    pair.server.close(far)
    assert differences(before, pair.server.inspect()) == {"receiving.received": 5}


def test_control_frames_are_counted_by_kind() -> None:
    peer = Script(extended=True)
    before = peer.connection.inspect()
    peer.feed("000004 12 00000003 61616161" + "000000 12 00000005")
    stream = peer.accept()
    other = peer.accept()
    peer.connection.ping(bytes(8))
    peer.connection.set_priority(stream, Priority(1))
    peer.connection.finish(stream)
    peer.connection.reset(other, 6)
    peer.feed("000008 50 00000000 0000000000000001")
    peer.connection.go_away(0, b"")
    control = {
        name: by
        for name, by in differences(before, peer.connection.inspect()).items()
        if name.startswith("control.")
    }
    assert control == {
        "control.replies": 2,
        "control.frames": 1,
        "control.resets": 1,
        "control.pings": 1,
        "control.priorities": 1,
        "control.fins": 1,
        "control.goodbyes": 1,
    }
    peer.sent()
    assert peer.connection.inspect().control == before.control._replace(awaited_pings=1)


def test_a_part_of_a_frame_is_undecoded_and_what_a_peer_may_do_is_used_up() -> None:
    peer = Script(extended=True)
    peer.feed("000000 12 00000003")
    before = peer.connection.inspect()
    peer.feed("000000 10")
    assert differences(before, peer.connection.inspect()) == {"receiving.undecoded": 4}
    peer.feed("00000003")
    assert differences(before, peer.connection.inspect()) == {"budgets.noises": -1}


def test_who_has_no_room_is_blocked_and_is_read_again() -> None:
    pair = Pair(Config(session_window=64 * KIB, initial_window=64 * KIB, stream_window=64 * KIB))
    near, far = pair.open()
    pair.client.write(near, bytes(100 * KIB))
    pair.run_until_idle()
    inspection = pair.client.inspect()
    assert inspection.sending.unsent > 0
    assert pair.server.inspect().receiving.pressed
    while pair.server.read(far, KIB):
        pair.run_until_idle()
    assert pair.client.inspect().sending.unsent == 0


@pytest.mark.parametrize("wire", WIRES)
def test_to_look_changes_nothing(wire: str) -> None:
    said = []
    for looks in (False, True):
        pair = Pair(Config(wire=wire))
        for number in range(5):
            near, far = pair.open(bytes(number * KIB))
            for side, stream in ((pair.client, near), (pair.server, far)):
                side.write(stream, bytes(100 * KIB))
                if looks:
                    assert pair.client.inspect() == pair.client.inspect()
                    assert pair.server.inspect() == pair.server.inspect()
                pair.run_until_idle()
            pair.server.read(far, 64 * KIB)
            pair.client.close(near)
            pair.run_until_idle()
        said.append([bytes(pair.sent[side]) for side in (pair.client, pair.server)])
    assert said[0] == said[1]
