"""Tests look at the package from outside: how many lines do not.

A test that reads a private attribute says nothing that a user or a peer could notice, and stands in the way of whoever
writes that part anew.  What cannot be seen from outside is asked of ``Connection.inspect``, of ``statistics()``, or of
what was put in the place of a transport, a cap, a scheduler.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import muxado_py

PACKAGE = Path(muxado_py.__file__).parent
ROOT = PACKAGE.parent
PRIVATE = re.compile(r"_[a-z]\w*")
PRIVATE_PATH = re.compile(r"(?:\w+\.)*(_[a-z]\w*)")

MOST = 8
"""Lines in all of ``tests`` and ``interop``."""

HOMONYMS = {
    "tests/integrations/plain.py": {"_map"},  # of waitress' server
    "tests/simulation/asyncio_world.py": {
        "_ready",
        "_scheduled",
        "_get_running_loop",
    },  # of asyncio
    "tests/simulation/network.py": {"_pump"},  # of the other socket of the pair
}
"""Private names that a file needs of another library, or of another object of its own class, and that the package
happens to use as well."""

PUBLIC = {"_asdict", "_fields", "_make", "_replace"}
"""What named tuples have; the underscore keeps them apart from fields."""


@cache
def private_names() -> set[str]:
    """Names with one underscore that the package's source uses, for whatever; a name that is none is not ours."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        found |= set(re.findall(r"\b_[a-z]\w*", path.read_text()))
    return found - PUBLIC


def is_own(node: ast.expr) -> bool:
    """Whether an attribute of it is one of the class that says so: of ``self``, ``cls`` or ``super()``."""
    if isinstance(node, ast.Call):
        node = node.func
    return isinstance(node, ast.Name) and node.id in ("self", "cls", "super")


def reaches(source: str, *, homonyms: frozenset[str] | set[str] = frozenset()) -> list[int]:
    """The lines that reach into private parts of the package.

    By ``thing._name``; by ``"_name"`` or ``"module._name"``, which is what setattr, getattr and monkeypatch take; by
    an import of a private module or of a private name.
    """
    ours = private_names() - homonyms
    lines = set()
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Attribute) and not is_own(node.value):
            names = [node.attr]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            named = PRIVATE_PATH.fullmatch(node.value)
            names = [named[1]] if named else []
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("muxado_py"):
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [part for alias in node.names for part in alias.name.split(".")]
        if any(PRIVATE.fullmatch(name) and name in ours for name in names):
            lines.add(node.lineno)  # type: ignore[attr-defined]
    return sorted(lines)


def test_few_lines_reach_into_the_package() -> None:
    found = []
    files = {*ROOT.glob("tests/**/*.py"), *ROOT.glob("interop/**/*.py")} - {Path(__file__)}
    for path in sorted(files):
        name = path.relative_to(ROOT).as_posix()
        homonyms = HOMONYMS.get(name, set())
        found += [f"{name}:{line}" for line in reaches(path.read_text(), homonyms=homonyms)]
    assert len(found) <= MOST, "\n".join(found)


@pytest.mark.parametrize(
    ("source", "counts"),
    [
        ("session._driver", True),
        ("await session._driver.accept()", True),
        ("self.session._driver", True),
        ("session._driver = None", True),
        ("self._driver", False),
        ("super()._driver", False),
        ("cls._driver", False),
        ("def f(): return getattr(session, '_driver')", True),
        ("monkeypatch.setattr(session, '_driver', None)", True),
        ("monkeypatch.setattr('muxado_py.session.driver._addresses', None)", True),
        ("from muxado_py.session.driver import _addresses", True),
        ("from muxado_py.integrations._uvicorn import serve", True),
        ("import muxado_py.integrations._uvicorn", True),
        ("row._replace(frame=b'')", False),
        ("monkeypatch.setattr(pings, 'perf_counter', None)", False),
        ("'the _driver of a session'", False),
        ("type(session).__name__", False),
    ],
)
def test_what_counts(source: str, counts: bool) -> None:
    assert reaches(source) == ([1] if counts else [])
