"""Frame log: what a session sends and receives, a line for each thing that a frame says.

What it is.  A debugging aid, for every wire: who looks for a fault, in a peer or here, sees the frames by name, and
needs no key for TLS.  ``Config.frame_log`` says where the lines go; where it says nothing ``MUXADO_FRAME_LOG`` does, so
that a program need not be changed to be looked at.

Where data comes from and goes to.  The core is asked to report (:mod:`~muxado_py.frames.reporting`); each report gets
its time and its session here, and goes to a file of this module's, a text file or a function of the application's.  The
first line of a session says what it is, the last why it ended.

The rules.  Without a log a session pays nothing for there being one.  And a log is never the end of a session: what
cannot be written, because a disk is full or a function of the application's raises, is one warning, and the
rest of that session goes without.

The trap.  A file is written from the event loop, as logging does it: a line is one write, appended, so that several
sessions and processes may share a file.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Coroutine
from contextlib import nullcontext, suppress
from itertools import count
from time import time
from typing import TYPE_CHECKING, Any

from ..errors import code_name, escaped
from ..links.attributes import peer_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from ..config import Config
    from ..protocol.connection import Connection

__all__ = ("VARIABLE", "FrameLog", "frame_log")

logger = logging.getLogger("muxado.frames")

VARIABLE = "MUXADO_FRAME_LOG"
"""The environment variable with the path of a log, for sessions whose ``Config`` names none."""

_numbers = count(1)
_OFF = nullcontext()


def frame_log(
    connection: Connection,
    config: Config,
    attributes: Mapping[Any, Callable[[], Any]],
    *,
    is_client: bool,
) -> AbstractContextManager[object]:
    """A context in which the frames of ``connection`` are logged, if they are to be.

    :param attributes: what is known of the transport.
    """
    target: Any = config.frame_log
    if target is None and not sys.flags.ignore_environment:
        target = os.environ.get(VARIABLE) or None
    if target is None:
        return _OFF
    role = "client" if is_client else "server"
    about = {"role": role, "wire": config.wire, "peer": escaped(peer_of(attributes))}
    return FrameLog(target, connection, about)


class FrameLog:
    """The log of one session, from the entering of this context to its end.

    :param target: a path, a text file, or a function.
    :param about: what the first line says.
    """

    def __init__(self, target: Any, connection: Connection, about: dict[str, str]) -> None:
        self._target = target
        self._connection = connection
        self._about = about
        self._session = {"process": os.getpid(), "session": next(_numbers)}
        self._file: Any = None  # what is to be closed
        self._write: Callable[[dict[str, Any]], object] | None = None

    def __enter__(self) -> None:
        target = self._target
        try:
            if callable(target):
                self._write = target
            elif hasattr(target, "write"):
                self._write = self._write_text
            else:
                # Without a buffer: what could not be written must not be tried again at the close.
                self._file = open(target, "ab", buffering=0)
                self._write = self._write_line
        except Exception as exc:  # noqa: BLE001 - a path that is none, say
            self._give_up(exc)
            return
        self._take({"event": "begin", **self._about})
        self._connection.log_frames(self._take)

    def __exit__(self, *_: object) -> None:
        ended = self._connection.events.failure
        if ended is not None:
            text = escaped(ended.message)
            code = code_name(ended.code)
            self._take({"event": "end", "code": code, "remote": ended.remote, "text": text})
        self._close()

    def _take(self, entry: dict[str, Any]) -> None:
        """One line; nothing once the log was given up."""
        if self._write is None:
            return
        try:
            _check_done(self._write({"time": round(time(), 6), **self._session, **entry}))
        except Exception as exc:  # noqa: BLE001 - a full disk, a closed file, a mistake of the function
            self._give_up(exc)

    def _write_text(self, entry: dict[str, Any]) -> None:
        _check_done(self._target.write(json.dumps(entry) + "\n"))
        self._target.flush()

    def _write_line(self, entry: dict[str, Any]) -> None:
        line = json.dumps(entry).encode() + b"\n"
        if self._file.write(line) != len(line):
            raise OSError("there was no room for a whole line")

    def _give_up(self, why: Exception) -> None:
        logger.warning(
            "the frame log of session %d is given up: %r of %r",
            self._session["session"],
            why,
            self._target,
            exc_info=why if callable(self._target) else None,
        )
        self._close()

    def _close(self) -> None:
        self._write = None
        if self._file is not None:
            with suppress(OSError):  # some disks say only now that they are full
                self._file.close()


def _check_done(result: object) -> None:
    """Whether it was no coroutine that was called: nobody could wait for it."""
    if isinstance(result, Coroutine):
        result.close()
        raise TypeError("what is asynchronous cannot take a frame log")
