"""The machine and the versions: without them a figure says nothing.

Everything here is read, nothing is remembered: the day, the processor, how busy it was when the
benchmark began, the interpreter, Go, and the commit of the working tree that was measured.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

__all__ = ("commit", "describe")

ROOT = Path(__file__).resolve().parents[2]
CPUINFO = Path("/proc/cpuinfo")


def describe() -> dict[str, str]:
    """What stands above every report."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()} "
        f"{platform.release()}",
        "load": f"{os.getloadavg()[0]:.1f} processes before it began",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Go": _go(),
        "commit": commit(ROOT),
    }


def _processor() -> str:
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())


def _go() -> str:
    go = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
    return _output(go, "env", "GOVERSION") if go else "none"


def commit(tree: Path) -> str:
    """Of a working tree, marked if it differs from its commit."""
    git = shutil.which("git")
    said = _output(git, "-C", str(tree), "describe", "--always", "--dirty") if git else ""
    return said or "unknown"


def _output(*command: str) -> str:
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return result.stdout.strip()
