"""Tokens of a cluster: what its gateways show each other, and what they take.

What it is.  A token in each line of a file.  The first is shown, and each is taken.

The rule.  A token is exchanged without a moment in which two gateways refuse each other: the new one goes below the old one at
all of them, then above it at all of them, then the old one is taken out.  Who showed one that is taken no more is sent away.

The trap.  A slip in the file must not part the gateways: what cannot be used leaves what was.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ("ClusterTokens",)


class ClusterTokens:
    """Those of one gateway.

    :param find: what there are now, one at least; it raises what the user is to be told.
    """

    def __init__(self, find: Callable[[], Sequence[str]]) -> None:
        self._find = find
        self._tokens = find()

    def read(self) -> None:
        """Take what there are now.

        :raises TokenFileError: if they cannot be used; what there were hold then.
        """
        self._tokens = self._find()

    @property
    def shown(self) -> str:
        """What this gateway shows others."""
        return self._tokens[0]

    def has(self, token: str) -> bool:
        """Whether another gateway that shows ``token`` is one of the cluster."""
        found = False
        for one in self._tokens:
            found |= hmac.compare_digest(one.encode(), token.encode("utf-8", "replace"))
        return found
