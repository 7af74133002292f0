"""Deciding files: those that say who may do something, and those that are a secret.

What it is.  How a file of tokens, of keys or of what is revoked is read, whatever stands in it.

The rules.  Whoever may write a file that decides, decides: so one that everybody may write is refused.  Whoever may read one that
has a secret has it: where everybody may, there is a warning, once for each change of the file.

The trap.  A pipe (``<(...)`` of a shell) can be read once.  What it gives the second time, nothing, must not be taken for a file
that is empty, which would send everybody away.
"""

from __future__ import annotations

import logging
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ("Readers", "TokenFileError", "read_deciding", "read_text", "reading_fault")

logger = logging.getLogger("muxado.cli")


class TokenFileError(ValueError):
    """Such a file that cannot be used; the message has a line for each fault."""


class Readers:
    """Who may read a file whose text is a secret: whoever reads it again and again keeps one, and warns once."""

    def __init__(self) -> None:
        self._warned: tuple[int, ...] | None = None  # of the file as it was

    def check(self, path: Path, status: os.stat_result) -> None:
        """Warn if everybody may, unless there was a warning since the file was changed."""
        if not _mode(status) & stat.S_IROTH:
            return
        now = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
        if now != self._warned:
            self._warned = now
            logger.warning("%s can be read by everybody: chmod 600 %s", path, path)


def read_deciding(path: Path, *, is_secret: bool = True) -> str:
    """The text of a file that says who may do something; if it is secret, there is a warning where everybody may read it.

    :raises TokenFileError: if it cannot be read, or everybody may write it, or if it is a pipe that has been read.
    """
    text, status = read_text(path)
    if not text and not path.is_file():
        raise TokenFileError(f"{path} has nothing to read, and is no file that could be read again")
    if _mode(status) & stat.S_IWOTH:
        raise TokenFileError(
            f"{path} can be written by everybody, who could then serve any name: chmod 600 {path}"
        )
    if is_secret:
        Readers().check(path, status)
    return text


def read_text(path: Path) -> tuple[str, os.stat_result]:
    """The text of any file, and what that was when it was read.

    :raises TokenFileError: if it cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            return file.read(), os.fstat(file.fileno())
    except (OSError, UnicodeDecodeError) as exc:
        raise TokenFileError(f"cannot read {path}: {reading_fault(exc)}") from exc


def _mode(status: os.stat_result) -> int:
    """The mode of a file, if it is one that counts."""
    mode = status.st_mode
    return mode if os.name == "posix" and stat.S_ISREG(mode) else 0


def reading_fault(exc: OSError | UnicodeDecodeError) -> str:
    """Why a file cannot be read or written, in a few words."""
    return exc.strerror or str(exc) if isinstance(exc, OSError) else "it is no text in UTF-8"
