"""Keyholders: who may ask at the admin address, where that wants a token.

What it is.  The tokens of a file like that of agents (:mod:`..trust.tokens`), and the field of a request that shows one: as a
bearer's (RFC 6750), which Prometheus and programs send, or as the password of whatever user (RFC 7617), for which a browser
asks.

The rule.  Whoever holds one may ask everything: what the names in its line are is nothing to this address.  So its tokens are in a
file of their own.

The trap.  A token over a connection without TLS is shown to everybody on the way; where that is not this machine alone, nothing
starts that way.
"""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING

from ..trust.tokens import read_tokens

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ("CHALLENGES", "Keyholders")

CHALLENGES = ("Bearer", 'Basic realm="muxado gateway: any user, and a token", charset="UTF-8"')
"""What who shows none is told, a field ``WWW-Authenticate`` each."""


class Keyholders:
    """Those of one file.

    :raises TokenFileError: if it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.reload()

    def reload(self) -> None:
        """Go by what the file says now.

        :raises TokenFileError: if it cannot be used; what it said before holds then.
        """
        self._tokens = read_tokens(self._path)

    def has(self, head: bytes) -> bool:
        """Whether one of them asks with ``head``; a field that is there twice shows nothing."""
        shown = []
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"authorization":
                shown.append(value)
        if len(shown) != 1:
            return False
        token = _token(shown[0].decode("latin-1"))
        return token is not None and self._tokens.find(token) is not None


def _token(said: str) -> str | None:
    kind, _, value = said.strip().partition(" ")
    value = value.strip()
    if kind.lower() == "bearer":
        return value
    if kind.lower() != "basic":
        return None
    try:
        return b64decode(value, validate=True).decode().partition(":")[2]
    except ValueError:
        return None
