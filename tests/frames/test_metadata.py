"""Metadata in bytes: what is said is what is read, and nothing beyond the bounds is either."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxado_py.frames.metadata import MAX_METADATA, Prepared, pack, unpack

keys = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255)


def test_the_bytes_of_two_pairs() -> None:
    said = {"caller": b"192.0.2.7:4711", "name": b""}
    packed = bytes.fromhex(
        "06 000e 63616c6c6572 3139322e302e322e373a34373131"  # caller, 14 bytes
        "04 0000 6e616d65"  # name, none
    )
    assert pack(said) == packed
    assert unpack(packed) == said
    assert list(unpack(packed)) == ["caller", "name"]
    assert pack({}) == b""
    assert unpack(b"") == {}
    assert Prepared(said) == said
    assert pack(Prepared(said)) == packed


@given(st.dictionaries(keys, st.binary(max_size=300), max_size=6))
def test_what_is_packed_is_unpacked(said: dict[str, bytes]) -> None:
    assert unpack(pack(said)) == said


def test_a_key_is_judged_alike_the_second_time() -> None:
    """Right ones are remembered, as many as a program has; wrong ones never are."""
    for _ in range(2):
        for number in range(200):
            said = {f"key-{number}": b"value"}
            assert unpack(pack(said)) == said
        with pytest.raises(ValueError, match="visible ASCII"):
            pack({"a b": b""})
        with pytest.raises(ValueError, match="has the key 'a b'"):
            unpack(bytes.fromhex("03 0000 612062"))


@given(st.binary(max_size=60))
def test_any_bytes_are_pairs_or_a_value_error(body: bytes) -> None:
    try:
        pairs = unpack(body)
    except ValueError:
        return
    assert pack(pairs) == body


@pytest.mark.parametrize(
    "said",
    [
        pytest.param([("k", b"v")], id="pairs that are no mapping"),
        pytest.param(7, id="a number"),
        pytest.param({1: b"v"}, id="a key that is a number"),
        pytest.param({b"k": b"v"}, id="a key in bytes"),
        pytest.param({"k": "v"}, id="a value that is a str"),
        pytest.param({"k": 5}, id="a value that is a number"),
        pytest.param({"k": None}, id="no value"),
    ],
)
def test_another_type_is_no_metadata(said: Any) -> None:
    with pytest.raises(TypeError, match="metadata"):
        pack(said)


@pytest.mark.parametrize(
    "key", ["", "two words", "line\n", "é", "\x7f", "k" * 256, "\N{NO-BREAK SPACE}"]
)
def test_a_key_is_visible_ascii(key: str) -> None:
    with pytest.raises(ValueError, match="visible ASCII"):
        pack({key: b""})


def test_values_are_any_bytes() -> None:
    said: Any = {"k": bytearray(b"\0\xff"), "l": memoryview(b"v")}
    assert unpack(pack(said)) == {"k": b"\0\xff", "l": b"v"}


def test_all_of_it_fits_or_nothing_is_said() -> None:
    longest = MAX_METADATA - 3 - 1
    assert len(pack({"k": bytes(longest)})) == MAX_METADATA
    for said in ({"k": bytes(longest + 1)}, {"k": bytes(longest), "l": b""}, {"k": bytes(10**6)}):
        with pytest.raises(ValueError, match="more than 4096 bytes"):
            pack(said)
