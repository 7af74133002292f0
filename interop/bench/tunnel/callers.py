"""The callers of a tunnel: those of a row, for a while, and a :class:`.rows.Run` of it.

Where data comes from and goes to.  Load is made by the program of ``interop/go/load``, in a process of its own for each run;
idle callers are sockets of this process, each of which was answered once, as a browser's that is kept alive.

The rule.  A run with an error, of a caller or of a program, is a :class:`.pair.FailedRunError`, never a figure.

The trap.  Memory once used stays with a process, so idle callers need a tunnel that has just been started.  The first of
them are not counted: what the first costs is not spread over the others.
"""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ..pair import FEW, FailedRunError
from .programs import HOST, ask
from .rows import Run

if TYPE_CHECKING:
    from pathlib import Path

    from .programs import Tunnel
    from .rows import Row

__all__ = ("BODY", "hold", "load")

BODY = 10 << 20
"""Bytes of a download and of an upload."""
PATIENCE = 40.0
"""Seconds that the load generator may take longer than it was told to; it gives up after 20 itself."""
REST = 0.1
"""Seconds between two looks at the gateway's memory."""
CALM = 64 * 1024
"""Bytes by which two such looks may differ when it has come to rest."""
LOOKS = 30


def load(program: Path, tunnel: Tunnel, row: Row, seconds: float) -> Run:
    """One run of a row that is not about idle callers.

    :raises FailedRunError: if anything went wrong.
    """
    before = tunnel.cpu_seconds()
    command = [
        *(str(program), "-address", f"{HOST}:{tunnel.port}", "-exchange", row.exchange),
        *("-connections", str(row.connections), "-seconds", str(seconds), "-size", str(BODY)),
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds + PATIENCE, check=True
        )
    except subprocess.CalledProcessError as error:
        raise FailedRunError(error.stderr.strip()) from None
    except subprocess.TimeoutExpired:
        raise FailedRunError(f"no end of the load after {seconds + PATIENCE:.0f} s") from None
    said = json.loads(done.stdout)
    if said["errors"]:
        raise FailedRunError(f"{said['errors']} errors, the first: {said['first_error']}")
    if not said["done"]:
        raise FailedRunError("nothing was done")
    amount = said["bytes"] / 1e6 if row.in_bytes else said["done"]
    cpu = tunnel.cpu_seconds() - before
    rate = amount / said["seconds"]
    return Run(rate, said["p50"], said["p99"], cpu / amount, said["cpu"] / amount)


def hold(tunnel: Tunnel, count: int) -> Run:
    """What an idle caller adds to the gateway's memory, with so many of them.

    :raises FailedRunError: if one is not answered.
    """
    with ExitStack() as held:

        def call(several: int) -> int:
            for _ in range(several):
                try:
                    caller, answer = ask(tunnel.port)
                except OSError as error:
                    raise FailedRunError(f"an idle caller: {error}") from None
                held.enter_context(caller)
                if not answer.startswith(b"HTTP/1.1 200 "):
                    raise FailedRunError(f"an idle caller was answered {answer[:40]!r}")
            return _at_rest(tunnel)

        few = min(FEW, count // 2)
        before = call(few)
        after = call(count - few)
    return Run((after - before) / (count - few) / 1024)


def _at_rest(tunnel: Tunnel) -> int:
    """The gateway's memory, once it changes little."""
    last = tunnel.memory()
    for _ in range(LOOKS):
        time.sleep(REST)
        now = tunnel.memory()
        if abs(now - last) <= CALM:
            break
        last = now
    return now
