"""Registration: what an agent, or a caller, says of itself on its first stream, and what it is answered.

What it is.  The form of the exchange that ``docs/registration.md`` describes, for both sides: lines of JSON on a stream
that the agent opens.  It needs nothing of the wire but streams, so it is the same on each; a gateway that knows nothing of
it refuses the stream, or says nothing on it.

The rules.  Nothing is kept of a line that is longer than :data:`MAX_LINE`, and none is waited for longer than
:data:`LINE_TIMEOUT`.  Keys that are not known are passed over, so that later versions may say more; what is known
and has another type is refused.

The traps.  Python's JSON reads UTF-16 too if it is given bytes, takes the last of two equal keys, and nests until the
stack ends; a peer may try each.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from ..trust.names import check_name, check_names

if TYPE_CHECKING:
    from anyio.abc import ByteReceiveStream

__all__ = (
    "LINE_TIMEOUT",
    "MAX_LINE",
    "Call",
    "Hop",
    "Lines",
    "NamesTaken",
    "Registration",
    "RegistrationError",
    "TryLater",
    "line",
)

VERSION = 1
"""Of the exchange; every line says it, as ``"muxado"``."""

MAX_LINE = 16 * 1024
"""Bytes of a line: 64 names take 4 KiB, and a token may be long."""

MAX_NODE = 64
"""Characters of the id of a gateway, which stands in many lines of the log."""

LINE_TIMEOUT = 2.0
"""Seconds in which a first stream must have said its line."""

MAX_HAD = 1e9
"""Seconds for which an agent can have been away from its names: thirty years."""


class RegistrationError(ConnectionError):
    """The gateway has not taken what the agent wanted to serve.

    :param retry_after: seconds after which it may be asked again, if it said so.
    :param answer: what it said, if that was an answer.
    """

    def __init__(
        self, text: str, retry_after: float | None = None, answer: dict[str, Any] | None = None
    ) -> None:
        super().__init__(text)
        self.retry_after = retry_after
        self.answer = answer or {}


class TryLater(PermissionError):
    """An agent may not serve what it wants to now.

    :param seconds: after which it may try again.
    """

    def __init__(self, text: str, seconds: float) -> None:
        super().__init__(text)
        self.seconds = seconds


class NamesTaken(PermissionError):
    """An agent that comes back has lost names meanwhile, to one that serves them alone.

    :param names: those.
    :param by: who has them.
    """

    def __init__(self, names: list[str], by: str) -> None:
        super().__init__(f"the newer agent {by} serves {', '.join(names)}, alone")
        self.names = names
        self.by = by


class Registration(NamedTuple):
    """What an agent wants to serve."""

    names: tuple[str, ...] = ()
    exclusive: bool = False
    """Whether nobody else is to serve them."""
    token: str | None = None
    """Why it may."""
    moves: bool = False
    """Whether it goes to another gateway when this one says so."""
    had: float | None = None
    """How many seconds ago it knew last that it has these names, if it comes back; None: it is new, or does not say."""

    def __repr__(self) -> str:
        """Without the token."""
        shown = self._replace(token=None if self.token is None else "...")
        return f"Registration{tuple(shown)}"

    def line(self) -> bytes:
        """As it is said."""
        said: dict[str, Any] = {"register": self.names}
        if self.exclusive:
            said["exclusive"] = True
        if self.had is not None:
            said["had"] = self.had
        return _spoken(said, self.token, self.moves)

    @classmethod
    def parse(cls, said: dict[str, Any]) -> Registration:
        """What a peer said.

        :raises ValueError: if it is no registration, with what is wrong, for that peer.
        """
        names = said.get("register")
        exclusive = said.get("exclusive", False)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("register must be a list of names")
        if not isinstance(exclusive, bool):
            raise ValueError("exclusive must be true or false")
        return cls(check_names(names), exclusive, *_who(said), _had(said))


class Call(NamedTuple):
    """What a session wants whose streams are callers."""

    name: str
    """Of whom they want."""
    token: str | None = None
    """Why it may."""
    moves: bool = False
    """Whether it goes to another gateway when this one says so."""

    def __repr__(self) -> str:
        """Without the token."""
        shown = self._replace(token=None if self.token is None else "...")
        return f"Call{tuple(shown)}"

    def line(self) -> bytes:
        """As it is said."""
        return _spoken({"call": self.name}, self.token, self.moves)

    @classmethod
    def parse(cls, said: dict[str, Any]) -> Call:
        """What a peer said.

        :raises ValueError: if it is no call, with what is wrong, for that peer.
        """
        name = said.get("call")
        if not isinstance(name, str):
            raise ValueError("call must be a name")
        return cls(check_name(name), *_who(said))


def _spoken(said: dict[str, Any], token: str | None, moves: bool) -> bytes:
    """What any session says of itself, as a line."""
    if token is not None:
        said["token"] = token
    if moves:
        said["moves"] = True
    return line(**said)


def _who(said: dict[str, Any]) -> tuple[str | None, bool]:
    """What any session says of itself, heard.

    :raises ValueError: if it is wrong.
    """
    token, moves = said.get("token"), said.get("moves", False)
    if not isinstance(token, str | None):
        raise ValueError("token must be a string")
    if not isinstance(moves, bool):
        raise ValueError("moves must be true or false")
    return token, moves


def _had(said: dict[str, Any]) -> float | None:
    """:raises ValueError: if it is no time."""
    had = said.get("had")
    if had is None:
        return None
    if isinstance(had, bool) or not isinstance(had, int | float) or not 0 <= had <= MAX_HAD:
        raise ValueError("had must be a number of seconds")
    return float(had)


class Hop(NamedTuple):
    """What a gateway says whose streams are callers of its own, for whatever name each of them wants."""

    node: str
    """Which gateway it is."""
    token: str
    """Why it may."""
    to: str | None = None
    """Which one it wants, if it says so."""

    def __repr__(self) -> str:
        """Without the token."""
        return f"Hop(node={self.node!r}, token=..., to={self.to!r})"

    def line(self) -> bytes:
        """As it is said."""
        said = {} if self.to is None else {"to": self.to}
        return line(hop=self.node, token=self.token, **said)

    @classmethod
    def parse(cls, said: dict[str, Any]) -> Hop:
        """What a peer said.

        :raises ValueError: if it is no hop, with what is wrong, for that peer.
        """
        node, token, to = said.get("hop"), said.get("token"), said.get("to")
        if not isinstance(node, str) or not 0 < len(node) <= MAX_NODE:
            raise ValueError("hop must be the id of a gateway")
        if not isinstance(token, str):
            raise ValueError("token must be a string")
        if not isinstance(to, str | None):
            raise ValueError("to must be the id of a gateway")
        return cls(node, token, to)


def line(**said: Any) -> bytes:
    """``said``, as a line."""
    return json.dumps({"muxado": VERSION, **said}, separators=(",", ":")).encode() + b"\n"


class Lines:
    """The lines that come on a stream."""

    def __init__(self, stream: ByteReceiveStream) -> None:
        self._stream = stream
        self._heard = bytearray()

    async def next(self) -> dict[str, Any]:
        """The next line.

        :raises ValueError: if it is none of this exchange.
        :raises: what the stream raises.

        Cancellation: nothing is lost.
        """
        end = self._heard.find(b"\n")
        while end < 0:
            room = MAX_LINE - len(self._heard)
            if not room:
                raise ValueError(f"a line has at most {MAX_LINE} bytes")
            start = len(self._heard)
            self._heard += await self._stream.receive(room)
            if not self._heard.startswith(b"{"):
                raise ValueError("this is no line of JSON")
            end = self._heard.find(b"\n", start)
        text = bytes(self._heard[:end])
        del self._heard[: end + 1]
        return _parsed(text)


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        said = json.loads(text.decode(), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise ValueError("this is no line of JSON") from None
    if not isinstance(said, dict) or said.get("muxado") is not VERSION:
        raise ValueError(f'this is no line of version {VERSION}: "muxado" must be {VERSION}')
    return said


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """:raises ValueError: if a key comes twice; two readers might take either."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found
