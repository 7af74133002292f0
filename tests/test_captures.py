"""What live peers really sent, understood as it is, and harmless however it is changed.

The long version of this, with longer captures and for an hour, is ``interop/fuzz.py``.
"""

from __future__ import annotations

from random import Random

import pytest

from muxado_py import Config
from muxado_py.frames import WIRES, candidates
from muxado_py.protocol.connection import Connection

from .helpers.decoding import Call, decode, singly
from .helpers.golden import GOLDEN, Golden
from .helpers.layouts import split_frames
from .helpers.mutating import mutate
from .helpers.pair import read_all
from .helpers.rowdy import configs, run

wires = pytest.mark.parametrize("wire", WIRES)
captures = pytest.mark.parametrize("golden", GOLDEN, ids=str)
seeds = pytest.mark.parametrize("seed", range(4))

INPUTS = 60
"""Mutations for each wire and seed."""


def test_there_is_a_capture_of_each_role_on_every_wire() -> None:
    assert {(one.wire, one.client) for one in GOLDEN} == {
        (wire, client) for wire in WIRES for client in (True, False)
    }


# As they are


def calls_of(golden: Golden) -> list[Call]:
    calls, midway = decode(WIRES[golden.wire](client=golden.client), golden.data)
    assert not midway
    return calls


@captures
def test_what_a_peer_said_is_understood(golden: Golden) -> None:
    """Whole: two streams that it opened, what it wrote, and the end of each."""
    calls = calls_of(golden)
    assert not [call for call in calls if call[0] in ("violated", "noise")]
    heartbeat = [call for call in calls if call[0] == "opened" and len(call) > 2]
    opened = [call[1] for call in calls if call[0] == "opened" and call not in heartbeat]
    parity = 0 if golden.client else 1
    assert len(opened) == 2
    assert all(isinstance(one, int) and one % 2 == parity for one in opened)
    assert [("data", one, b"hello", 0) for one in opened] == [
        call for call in calls if call[0] == "data" and call[2] == b"hello"
    ]
    assert [call for call in calls if call[0] == "data" and call[2] == b"answer"]
    assert len([call for call in calls if call[0] == "finished"]) == 3


@captures
def test_what_a_peer_said_is_the_same_byte_by_byte(golden: Golden) -> None:
    recorded = decode(WIRES[golden.wire](client=golden.client), *singly(golden.data))
    assert recorded == (calls_of(golden), False)


@captures
def test_the_wire_of_a_peer_is_known_by_its_first_bytes(golden: Golden) -> None:
    assert candidates(golden.data[:12]) == [golden.wire]


@captures
def test_a_session_takes_what_a_peer_said(golden: Golden) -> None:
    """With the streams open that its frames are about."""
    connection = Connection(Config(wire=golden.wire), client=golden.client)
    for _ in range(2):
        connection.open(None, None)
    connection.data_to_send(2**20)
    accepted = []
    for frame in split_frames(golden.data, golden.wire):
        connection.receive_data(frame)
        accepted.append(connection.accept())
        connection.data_to_send(2**20)
    received = [read_all(connection, stream) for stream in accepted if stream is not None]
    assert [data[:5] for data in received] == [b"hello", b"hello"]
    connection.receive_eof()
    ended = connection.events.failure
    assert ended is not None
    if "going_away" in [call[0] for call in calls_of(golden)]:
        assert ended.remote
        assert ended.code == 0


# Changed


@pytest.mark.slow
@captures
def test_a_capture_cut_after_any_byte(golden: Golden) -> None:
    tight, *_ = configs(golden.wire)
    for end in range(len(golden.data)):
        run(tight, golden.data[:end], client=golden.client, seed=end)


def mutations(wire: str, seed: int) -> list[tuple[Random, bytes, bool]]:
    """Mutations of what the wire's peers said, each with a source for what else is random."""
    own = [one for one in GOLDEN if one.wire == wire]
    made = []
    for number in range(INPUTS):
        source = Random(seed * INPUTS + number)
        one, other = source.choice(own), source.choice(GOLDEN)
        made.append((source, mutate(source, wire, one.data, other.data), one.client))
    return made


@wires
@seeds
def test_a_decoder_says_the_same_of_a_mutation_at_any_chunking(wire: str, seed: int) -> None:
    for source, data, client in mutations(wire, seed):
        made = WIRES[wire](client=client)
        calls, _ = decode(made, data)
        cut = source.randint(0, len(data))
        assert decode(made, data[:cut], data[cut:])[0] == calls, data.hex()
        assert decode(made, data, pause_every=2)[0] == calls, data.hex()
        assert len(data) > 5000 or decode(made, *singly(data))[0] == calls, data.hex()


@pytest.mark.slow
@wires
@seeds
def test_no_mutation_makes_a_connection_raise_hang_or_grow(wire: str, seed: int) -> None:
    for number, (source, data, client) in enumerate(mutations(wire, seed)):
        config = source.choice(configs(wire))
        run(config, data, client=client, seed=number, weigh=number % 10 == 0)


@wires
@captures
def test_a_peer_of_another_wire_does_no_harm(wire: str, golden: Golden) -> None:
    for number, config in enumerate(configs(wire)):
        run(config, golden.data, client=golden.client, seed=number, weigh=True)
