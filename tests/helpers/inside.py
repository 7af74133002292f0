"""The few ways into the package that are not public.

What it is.  What a test cannot see from outside it asks ``Connection.inspect`` for.  Sessions hide their driver, so
that there is one place that knows where it is: this one.

The rule.  A private name of the package stands here and nowhere else; ``tests/test_private_names.py`` counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from muxado_py.frames import WIRES

if TYPE_CHECKING:
    import pytest

    from muxado_py import Session

__all__ = ("begin_with_ids", "driver_of")


def driver_of(session: Session) -> Any:
    """What drives ``session``: its connection, its link, its pings."""
    return session._driver


def begin_with_ids(monkeypatch: pytest.MonkeyPatch, wire: str, *, client: int, server: int) -> None:
    """Sessions on ``wire`` that are made from now on begin with these ids, to get to the last ones."""
    kind = WIRES[wire]
    make = kind.__init__

    def begin(self: Any, *, client: bool) -> None:
        make(self, client=client)
        self.first_id, self.first_peer_id = ids if client else ids[::-1]

    ids = client, server
    monkeypatch.setattr(kind, "__init__", begin)
