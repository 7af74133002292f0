"""The ``muxado`` command: serve an app through a tunnel, publish it, measure it, show it.

What it is.  The door; everything behind it needs click, which is an extra like every other library
that is not anyio.  So this module imports nothing of the command line until it knows that click is
there, and says what to install when it is not.

Exit codes of all commands, the same as uvicorn's where uvicorn has one: 0 when it ended as asked
(also after a first SIGINT or SIGTERM), 2 for wrong usage, 3 when it never got going, 4 when the
connection is lost for good, 1 when ``demo`` measured something that it should not have.  A second
signal ends at once with 128 plus its number.
"""

from __future__ import annotations

import sys

__all__ = ("main",)


def main() -> None:
    """Run the command line of this process; does not return."""
    try:
        import click  # noqa: F401
    except ModuleNotFoundError as exc:
        if exc.name != "click":
            raise
        print(
            "muxado: the command line needs click, which is not installed.\n"
            "Install it with: pip install 'muxado-py[cli]'",
            file=sys.stderr,
        )
        sys.exit(3)
    from .commands import muxado

    muxado(prog_name="muxado")
