"""Log lines: what a record of the log looks like on stderr, for people or for programs.

What it is.  The two formatters of ``--log-format``.  For people: the time of day, the level, the message.  For programs:
one JSON object, ``time`` (RFC 3339, in UTC), ``level``, ``logger``, ``message``, after them what the record has as
:func:`fields`, and ``exception`` where there was one.

The rule.  A record in JSON is one line of ASCII, whatever it says: peers and callers have a say in many.  What it is about
stands in its fields too, as values, so that nobody has to read the message for them.

The trap.  Loggers that nobody configured, of libraries or of asyncio, write by themselves from WARNING on
(``logging.lastResort``); in JSON that has to be JSON too.  What Python writes without the log, of a crash say, stays text.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

__all__ = ("JsonLines", "TextLines", "fields")

ACCESS_LOGGERS = ("uvicorn.access", "muxado.access")
"""Whose records have these arguments: client, method, path, protocol, status."""


def fields(**values: Any) -> dict[str, Any]:
    """What a record is about, as values; give it to a logger as ``extra``."""
    return {"fields": values}


class TextLines(logging.Formatter):
    """For people.

    :param use_colors: whether what is more or less than usual has a color.
    """

    _COLORS = {"DEBUG": "36", "WARNING": "33", "ERROR": "31", "CRITICAL": "31;1"}  # noqa: RUF012

    def __init__(self, use_colors: bool) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")
        self._use_colors = use_colors
        self._second = 0, ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """The time of day, which many lines share."""
        second = int(record.created)
        if self._second[0] != second:
            self._second = second, super().formatTime(record, datefmt)
        return self._second[1]

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        color = self._COLORS.get(record.levelname)
        return f"\x1b[{color}m{line}\x1b[0m" if self._use_colors and color else line


class JsonLines(logging.Formatter):
    """For programs."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in _fields_of(record).items():
            line.setdefault(name, value)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        return json.dumps(line, default=str)


def _fields_of(record: logging.LogRecord) -> dict[str, Any]:
    found = getattr(record, "fields", None)
    if isinstance(found, dict):
        return found
    if record.name in ACCESS_LOGGERS and isinstance(record.args, tuple) and len(record.args) == 5:
        client, method, path, _, status = record.args
        number = str(status)
        if number.isdecimal():
            status = int(number)
        return {"client": client, "method": method, "path": path, "status": status}
    return {}
