"""What holds of the golden bytes of every wire: one table of frames, both ways and at every split.

A test module of a wire has a table of :class:`Row`, and a subclass of :class:`RowChecks` that names it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import pytest

from ..helpers.decoding import Call, decode, singly
from ..helpers.layouts import split

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from muxado_py.frames import Wire

__all__ = ("Row", "RowChecks")


class Row(NamedTuple):
    """One frame, or a few that belong together."""

    frame: str
    """How it looks, in hexadecimal."""
    calls: list[Call]
    """What a decoder makes of it."""
    encode: Callable[[Any], bytes] | None = None
    """What is said, if it is ever said like that."""
    extended: bool = False
    """Whether it is understood of a muxado_py only."""


class RowChecks:
    """The base of a wire's row tests."""

    wire: ClassVar[Wire]
    rows: ClassVar[Mapping[str, Row]]
    behind: ClassVar[str]
    """A DATA frame with "ok" for stream 99."""

    def session(self, row: Row) -> tuple[bytes, list[Call]]:
        """The bytes of a session that has just this row, and its calls."""
        return bytes.fromhex(row.frame), row.calls

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "row" not in metafunc.fixturenames:
            return
        rows = self.rows.items()
        if metafunc.function.__name__ == "test_encode":
            rows = {name: row for name, row in rows if row.encode is not None}.items()
        metafunc.parametrize("row", [pytest.param(row, id=name) for name, row in rows])

    def test_encode(self, row: Row) -> None:
        assert row.encode is not None
        assert row.encode(self.wire) == bytes.fromhex(row.frame)

    def test_decode_whole_and_byte_by_byte(self, row: Row) -> None:
        data, calls = self.session(row)
        assert decode(self.wire, data) == (calls, False)
        assert decode(self.wire, *singly(data)) == (calls, False)

    @pytest.mark.parametrize("pause_every", [0, 1])
    def test_decode_at_every_split(self, row: Row, pause_every: int) -> None:
        data, calls = self.session(row)
        for at in range(len(data) + 1):
            made = decode(self.wire, data[:at], data[at:], pause_every=pause_every)
            assert made == (calls, False), at

    def test_decode_with_another_frame_behind(self, row: Row) -> None:
        data, calls = self.session(row)
        made = decode(self.wire, data + bytes.fromhex(self.behind))
        assert made == ([*calls, ("data", 99, b"ok", 0)], False)

    def test_a_frame_cut_short_is_known_to_be(self, row: Row) -> None:
        data, _ = self.session(row)
        boundaries = {0}
        for frame in split(data, self.wire.name):
            boundaries.add(max(boundaries) + len(frame))
        for end in range(len(data) + 1):
            assert decode(self.wire, data[:end])[1] is (end not in boundaries), end
