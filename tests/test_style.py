"""Lint, format and types are part of the tests: the tools run on what is checked in."""

from __future__ import annotations

import ast
import importlib
import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
CODE = ("muxado_py", "tests", "interop")


@pytest.mark.slow
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


def words_of(source: str) -> Iterator[str]:
    """The comments and docstrings of a module, those of constants and attributes too."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield str(node.value.value)


@pytest.mark.slow
def test_what_was_measured_stands_in_the_documents() -> None:
    """Figures age, and docs/measurements.md gives each its date; a module says the reason in words."""
    measured = re.compile(r"\d ?(us|ns|s/GB|GB/s|%)(?!\w)")
    found = [
        (path.relative_to(ROOT), figure[0], words[:60])
        for path in (ROOT / "muxado_py").rglob("*.py")
        for words in words_of(path.read_text())
        for figure in measured.finditer(words)
    ]
    assert not found


def place_of(path: Path, name: str) -> Path:
    """What ``..trust.names`` means in the module at ``path``, without the suffix."""
    dots = len(name) - len(name.lstrip("."))
    return path.parents[dots - 1].joinpath(*name[dots:].split("."))


def test_docstrings_name_modules_that_exist() -> None:
    named = [
        (path, name)
        for folder in CODE
        for path in (ROOT / folder).rglob("*.py")
        for name in re.findall(r":mod:`~?(\.[\w.]+)`", path.read_text())
    ]
    assert named
    missing = [
        f"{path.relative_to(ROOT)}: {name}"
        for path, name in named
        if not (place := place_of(path, name)).is_dir() and not place.with_suffix(".py").exists()
    ]
    assert not missing


@pytest.mark.parametrize("document", ["measurements.md", "glossary.md"])
def test_documents_name_modules_that_exist(document: str) -> None:
    text = (ROOT / "docs" / document).read_text()
    named = set(re.findall(r"`((?:\w+/)+(?:\w+\.py)?)`", text))
    assert named
    for name in named:
        assert (ROOT / "muxado_py" / name).exists() or (ROOT / name).exists(), name


def resolved(dotted: str) -> bool:
    """Whether ``muxado_py.a.b.c`` is a module, or an attribute of one, of a class in it, or an annotation there."""
    parts = dotted.split(".")
    known: object = None
    for count in range(1, len(parts) + 1):
        try:
            known = importlib.import_module(".".join(parts[:count]))
        except ImportError:
            break
    else:
        return True
    for name in parts[count - 1 :]:
        if not hasattr(known, name):
            return name in getattr(known, "__annotations__", {})
        known = getattr(known, name)
    return True


def test_what_docstrings_refer_to_exists() -> None:
    reference = re.compile(r":\w+:`~?(muxado_py(?:\.\w+)*)`")
    found = {
        (path.relative_to(ROOT), name)
        for path in (ROOT / "muxado_py").rglob("*.py")
        for name in reference.findall(path.read_text())
        if not resolved(name)
    }
    assert not found
