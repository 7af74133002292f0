"""What one end of a pair counts."""

from __future__ import annotations

from typing import Any

__all__ = ("Tally",)


class Tally:
    """What was done, and what went wrong."""

    def __init__(self) -> None:
        self.done = 0
        self.errors = 0
        self.first_error = ""

    def fail(self, exc: Exception) -> None:
        """Count an error, and keep the words of the first."""
        self.errors += 1
        self.first_error = self.first_error or f"{type(exc).__name__}: {exc}"

    def facts(self) -> dict[str, Any]:
        """As an answer to a command."""
        return {"done": self.done, "errors": self.errors, "first_error": self.first_error}
