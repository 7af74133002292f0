"""Permits: which names somebody may serve, and how much of a gateway he may have.

What it is.  What all that a peer can show comes to, be it a token of a file (:mod:`.tokens`), a JWT (:mod:`.jwt_keys`) or a
certificate (:mod:`.certified`): a :class:`Permit`, with patterns of names, ``blog``, ``blog-*``, ``*``, and with :class:`Bounds`.

The rule.  What is no pattern, or no bound, is refused where it is read, and not where it is asked for: whoever writes one hears of
the slip.

The trap.  The words of the bounds are the same in a token file and in a JWT, which may hold more: what is unknown is a fault in
the one and another's affair in the other.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("Bounds", "Permit", "bounds_of", "check_patterns", "parse_bounds")

_PATTERN = re.compile(r"[a-z0-9*-]{1,63}")


class Bounds(NamedTuple):
    """How much of a gateway one holder may have at once, and for how long; None: as everybody (:mod:`..agents.holdings`)."""

    sessions: int | None = None
    """Of agents, and of those who call."""
    callers: int | None = None
    """That come to its agents, or by its sessions."""
    session_ttl: int | None = None
    """Seconds that a session lasts, after which its token, or its certificate, is to be shown anew."""

    def __str__(self) -> str:
        return ",".join(
            f"{word}={number}" for word, number in zip(BOUNDS, self, strict=True) if number
        )


BOUNDS = ("max_sessions", "max_callers", "session_ttl")
"""What the fields of :class:`Bounds` are called in a token file, and in a JWT."""


class Permit(NamedTuple):
    """What a token is for."""

    name: str
    """Of the token, or of its holder, for the log."""
    patterns: tuple[str, ...]
    id: str | None = None
    """By which it may be revoked, if it has one: the ``jti`` of a JWT."""
    bounds: Bounds = Bounds()

    def allows(self, name: str) -> bool:
        """Whether its holder may serve ``name``: in a pattern a ``*`` stands for any part of it, or for none.

        An agent without a name serves the name ``""``, which ``*`` allows.
        """
        return any(fnmatchcase(name, pattern) for pattern in self.patterns)


def parse_bounds(text: str) -> Bounds:
    """The bounds that the fourth part of a line says.

    :raises ValueError: if it is none.
    """
    said: dict[str, object] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        word, _, number = (side.strip() for side in part.partition("="))
        if word not in BOUNDS or word in said:
            raise ValueError(
                f"the fourth part is for bounds: {', '.join(f'{one}=NUMBER' for one in BOUNDS)}, each once"
            )
        said[word] = int(number) if re.fullmatch("[0-9]{1,9}", number) else number
    return bounds_of(said)


def bounds_of(said: Mapping[str, object]) -> Bounds:
    """The bounds that a token says, with other things.

    :raises ValueError: if one is no number, or too small.
    """
    found = []
    for word in BOUNDS:
        number = said.get(word)
        if number is not None and (type(number) is not int or number < 1):
            raise ValueError(f"{word} must be a number, 1 or greater")
        found.append(number)
    return Bounds(*found)


def check_patterns(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Patterns of names, unchanged.

    :raises ValueError: if one of them is none.
    """
    for pattern in patterns:
        if not _PATTERN.fullmatch(pattern):
            raise ValueError(
                f"{pattern[:80]!r} is no pattern of names: write blog, or blog-*, or * for any name, "
                "in lower case and with commas between them"
            )
    return patterns
