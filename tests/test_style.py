"""Lint, format and types are part of the tests: the tools run on what is checked in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CODE = ("muxado_py", "tests", "interop")


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(("ruff", "check", "--no-cache", *CODE), id="lint"),
        pytest.param(("ruff", "format", "--no-cache", "--check", *CODE), id="format"),
        pytest.param(("mypy",), id="types"),
    ],
)
def test_the_tool_finds_nothing(command: tuple[str, ...]) -> None:
    result = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
