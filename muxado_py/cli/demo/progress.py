"""Progress for whoever watches the demo: on stderr, so that ``--json`` leaves stdout clean.

What it is.  A spinner where stderr is a terminal and rich is installed, a line for each part
everywhere else.

The trap.  A display that redraws takes processor time from what is being measured; rich's spinner
does so twelve times a second, in the parent, which has nothing else to do.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from ...runtime.extras import MissingExtraError, require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ("progress",)


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Gives a function that says what is being done now."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield _line
        return
    try:
        console = require("rich.console", "demo").Console(stderr=True)
    except MissingExtraError:
        yield _line
        return
    with console.status("") as status:
        yield lambda text: status.update(f"{text} ...")


def _line(text: str) -> None:
    click.echo(f"{text} ...", err=True)
