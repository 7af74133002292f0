"""Wake-ups: which tasks something of a session wakes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from muxado_py.runtime.checkpoints import wake

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("wake_ups",)


@contextmanager
def wake_ups(module: str) -> Iterator[list[object]]:
    """Whom a module of ``muxado_py.session`` wakes meanwhile."""
    woken: list[object] = []

    def count(waiter: Any) -> None:
        woken.append(waiter)
        wake(waiter)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"muxado_py.session.{module}.wake", count)
        yield woken
