"""What gateways say of themselves, and what cannot be read."""

from __future__ import annotations

import pytest

from muxado_py.cli.cluster.nodes import Node, new_id

URL = "tls://gateway-1.example:7000"


@pytest.mark.parametrize("is_draining", [False, True])
def test_what_one_writes_the_other_reads(is_draining: bool) -> None:
    node = Node(new_id(), URL, is_draining)
    assert Node.parse(node.id, node.record()) == node


def test_of_a_later_version_what_is_known_is_read() -> None:
    record = '{"url":"tcp://127.0.0.1:7000","state":"resting","load":0.5}'
    assert Node.parse("one", record) == Node("one", "tcp://127.0.0.1:7000")


@pytest.mark.parametrize(
    "record",
    [
        "",
        "{}",
        "[]",
        '"tcp://127.0.0.1:1"',
        '{"url":7}',
        '{"url":"nowhere"}',
        "[" * 1000,
        '{"url":"tcp://127.0.0.1:7000","more":"%s"}' % ("x" * 1000),
    ],
)
def test_what_is_no_record(record: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Node.parse("one", record)


def test_each_start_is_another_node() -> None:
    assert len({new_id() for _ in range(100)}) == 100
