"""The optional libraries: imported when they are needed, missed with a sentence that helps.

What it is.  The one door through which this package reaches a library that is not anyio.  The core
needs none of them, so each is an *extra* of the distribution and is imported on first use.

The rule.  A module that imports an optional library at its top (``_uvicorn``, ``_anycorn``) is
itself imported only after :func:`require` found that library.

The trap.  ``ModuleNotFoundError`` is also raised by a library that *is* installed and misses one of
its own dependencies; telling the user to install the extra would then send them in a circle.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ("MissingExtraError", "require")


class MissingExtraError(ImportError):
    """An optional library is not installed; the message holds the command that installs it.

    :ivar extra: the name of the extra, as in ``pip install 'muxado-py[extra]'``.
    """

    def __init__(self, library: str, extra: str, otherwise: str = "") -> None:
        advice = f"Install it with: pip install 'muxado-py[{extra}]'"
        super().__init__(
            f"{library} is not installed. {', '.join(filter(None, (advice, otherwise)))}",
            name=library,
        )
        self.extra = extra


def require(library: str, extra: str, otherwise: str = "") -> ModuleType:
    """Import ``library``, which the distribution's ``extra`` brings.

    :param otherwise: what else the user can do.

    :raises MissingExtraError: if it is not installed.
    """
    try:
        return importlib.import_module(library)
    except ModuleNotFoundError as exc:
        if not f"{library}.".startswith(f"{exc.name}."):
            raise
        raise MissingExtraError(library, extra, otherwise) from None
