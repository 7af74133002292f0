"""Arguments: what a public call is given is judged at the call, before anything has changed.

Why it matters.  Calls here only note what is to be sent; frames are cut later, by the session's writer.  A
number that no frame can carry would be found out there, where it ends the session and every other stream.

The rule.  A wrong type is a ``TypeError``, a value out of its range a ``ValueError``; the message says which
argument, what was expected and what came.  ``True`` is no number, though Python holds that it is 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = (
    "Buffer",
    "check_able",
    "check_function",
    "check_seconds",
    "check_text",
    "check_whole",
    "octets",
    "view_of",
)

Buffer: TypeAlias = "bytes | bytearray | memoryview"
"""What can be sent; whatever else has the buffer protocol is taken, too."""


def check_whole(name: str, value: object, low: int, high: int) -> None:
    """Only an ``int`` from ``low`` to ``high`` passes."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int from {low} to {high}, got {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be from {low} to {high}, got {value!r}")


def check_seconds(name: str, value: object) -> None:
    """Only a number from 0 on passes; infinity is for ever."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number of seconds, got {value!r}")
    if not value >= 0:  # nor what is no number
        raise ValueError(f"{name} must be 0 or more seconds, got {value!r}")


def check_text(name: str, value: object) -> None:
    """Only a ``str`` passes."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, got {value!r}")


def check_function(name: str, value: Callable[..., object] | None) -> None:
    """Only what can be called passes."""
    if not callable(value):
        raise TypeError(f"{name} must be a function, got {value!r}")


def check_able(name: str, value: object, expected: str, *abilities: str) -> None:
    """Only what has these attributes passes; ``expected`` says what that is."""
    if all(hasattr(value, one) for one in abilities):
        return
    hint = "; what it gives may be meant (async with)" if hasattr(value, "__aenter__") else ""
    raise TypeError(f"{name} must be {expected}, got {value!r:.80}{hint}")


def octets(item: Buffer) -> bytes:
    """A copy of ``item``, counted in bytes whatever its items are.

    An int must not pass: ``bytes(5)`` are five zeros.
    """
    return bytes(view_of(item))


def view_of(item: object) -> memoryview:
    """``item`` as a view of single bytes."""
    try:
        view = memoryview(item)  # type: ignore[arg-type]
    except TypeError:
        hint = "; encode it first" if isinstance(item, str) else ""
        raise TypeError(
            f"only bytes can be sent, got {type(item).__name__} {item!r:.40}{hint}"
        ) from None
    if view.format == "B" and view.ndim == 1 and view.contiguous:
        return view
    return memoryview(view.tobytes())
