"""Siblings: what two streams have to do with each other, and one with the session that it was opened in.

What it is.  What whoever sends a call again has to know of the attempt before, and what a stream does not show: whether
another one would go the same way, and whether the session fell over this one.

The rule.  Asked only after something failed: nothing is counted or kept for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .stream import Stream

__all__ = ("has_sibling", "is_poisoned")


def has_sibling(stream: Stream, others: Iterable[Stream]) -> bool:
    """Whether one of ``others`` is of the same session."""
    return any(stream._driver is one._driver for one in others)


def is_poisoned(stream: Stream) -> bool:
    """Whether the peer ended the session with an error, and no stream was opened here before this one."""
    connection = stream._driver.connection
    goodbye = connection.events.go_away
    if goodbye is None or goodbye.code == ErrorCode.NO_ERROR:
        return False
    return stream._state.id == connection.first_id
