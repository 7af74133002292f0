"""Reloading: what a command reads again at SIGHUP, while it goes on.

What it is.  A list of things, each with what reads it; who has one adds it, :mod:`.running` calls.

The rule.  Whatever is wrong with one thing, it stays as it was and the log says why, and the others are read: a slip in a
file must not stop what runs.  So each reads and judges all of it before it changes anything.

The trap.  This runs in the event loop, between two of its steps: files that are small and local, nothing else.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Reloading",)

logger = logging.getLogger("muxado.cli")


class Reloading:
    """What is read again."""

    def __init__(self) -> None:
        self._readers: list[tuple[str, Callable[[], None]]] = []

    def add(self, what: str, read: Callable[[], None]) -> None:
        """``read`` what is called ``what``, from now on; it raises what the user is to be told."""
        self._readers.append((what, read))

    @property
    def has_any(self) -> bool:
        """Whether there is something to read."""
        return bool(self._readers)

    def __call__(self) -> None:
        """Read all of it."""
        for what, read in self._readers:
            try:
                read()
            except (click.ClickException, ValueError, OSError) as exc:
                logger.error("the %s stay as they were: %s", what, exc)
            else:
                logger.info("the %s are read again", what)
