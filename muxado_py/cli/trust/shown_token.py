"""The token that this side shows: where it comes from, and that it is read again.

What it is.  What stands in a file, or in ``MUXADO_TOKEN``.  A file is read before each registration, so that a token that was
exchanged there, or a JWT that somebody renews, is shown from the next session on, and no process starts anew for it.

The rules.  A file that cannot be used now, because somebody is just writing it, say, is warned of, and the token that it had
is shown: a slip in it must not end an agent that would be taken.  A file that everybody may read is warned of when it is read
first, and after each change of it.  The environment of a process stays as it is.

The trap.  What is no file gives what it has once (``<(command)``, a pipe), and to open it again may wait for ever.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from .deciding_files import Readers, TokenFileError
from .tokens import read_token

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ("ShownToken",)

logger = logging.getLogger("muxado.cli")

VARIABLE = "MUXADO_TOKEN"


class ShownToken:
    """A token, from one registration to the next.

    :param path: the file; None: what is in the environment.
    :raises TokenFileError: if the file has none.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._readers = Readers()
        self._token = (
            os.environ.get(VARIABLE, "").strip() or None
            if path is None
            else read_token(path, self._readers)
        )

    @property
    def is_there(self) -> bool:
        """Whether there is one."""
        return self._token is not None

    @property
    def is_in_file(self) -> bool:
        """Whether it may be another later."""
        return self._path is not None and self._path.is_file()

    def read(self) -> None:
        """Take what the file has now.

        :raises TokenFileError: if it cannot be used; what it had before holds then.
        """
        if self._path is not None and (self.is_in_file or not self._path.exists()):
            self._token = read_token(self._path, self._readers)

    def now(self) -> str | None:
        """The token to show now."""
        try:
            self.read()
        except TokenFileError as exc:
            logger.warning("the token stays as it was: %s", exc)
        return self._token
