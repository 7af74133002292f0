"""Priority: how one stream stands among the others of its session.

The shape is RFC 9218's urgency (0 first, 7 last) with weights inside an urgency, which that RFC
leaves out.  Values travel to a muxado_py peer, so that the answers it sends are ordered by them
too; nothing here knows of frames.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ("DEFAULT_PRIORITY", "Priority", "check_priority")


@dataclass(frozen=True, slots=True)
class Priority:
    """Where a stream stands when it has bytes to send.

    :param urgency: 0 (first) to 7 (last), default 3.  A lower level goes before a higher one as
        long as it has anything to send, but for a guard that gives the waiting levels one frame
        in sixteen.
    :param weight: 1 to 256, default 16.  Streams of one urgency share the bytes by weight.
    :raises ValueError: if either is out of range or not an int.
    """

    urgency: int = 3
    weight: int = 16

    def __post_init__(self) -> None:
        ranges: tuple[tuple[str, object, int, int], ...] = (
            ("urgency", self.urgency, 0, 7),
            ("weight", self.weight, 1, 256),
        )
        for name, value, low, high in ranges:
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise ValueError(f"{name} must be an int from {low} to {high}, got {value!r}")


def check_priority(priority: object) -> None:
    """Before anything changes: what a scheduler cannot order would end a session at its next flush.

    :raises TypeError: if it is no :class:`Priority`.
    """
    if not isinstance(priority, Priority):
        raise TypeError(f"a priority must be a Priority(urgency, weight), got {priority!r}")


DEFAULT_PRIORITY = Priority()
