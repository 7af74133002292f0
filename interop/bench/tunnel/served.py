"""The application of a set-up, and where everybody of it listens.

The rule.  Uvicorn serves alike wherever it runs: with uvloop and httptools, without a line for each request, and with
connections that may be idle for longer than idle callers are held.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from .programs import HOST, Program, free_port

__all__ = ("APP", "KEEP_ALIVE", "Ports", "uvicorn", "versions")

APP = ("app:app", "--app-dir", str(Path(__file__).parent))
KEEP_ALIVE = "300"
"""Seconds."""


class Ports(NamedTuple):
    """Where everybody of one set-up listens."""

    agents: int
    callers: int
    app: int

    @classmethod
    def free(cls) -> Ports:
        """Three that are free."""
        while len(ports := {free_port() for _ in cls._fields}) < len(cls._fields):
            pass
        return cls(*ports)


def uvicorn(port: int) -> Program:
    """The application on a port of its own."""
    flags = ("--no-access-log", "--log-level", "warning", "--lifespan", "off")
    place = ("--host", HOST, "--port", str(port), "--timeout-keep-alive", KEEP_ALIVE)
    return Program([sys.executable, "-m", "uvicorn", *APP, *place, *flags], port)


def versions() -> str:
    """Of what serves it."""
    names = ("uvicorn", "uvloop", "httptools", "websockets", "anyio")
    return ", ".join(f"{name} {version(name)}" for name in names)
