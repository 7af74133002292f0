"""The table of rows in ``interop/README.md`` is complete, and each row has the test it names.

A row is one thing that a real peer does on a wire and that its other side can get wrong: X of muxado, Y
of yamux, S of smux, M of the muxado of 2014.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

ROWS = [
    *(f"X{number}" for number in range(1, 33)),
    *(f"Y-{number}" for number in range(1, 31)),
    *(f"S-{number}" for number in range(1, 21)),
]
"""The rows that were known when the wires were written; the table may have more."""


@cache
def table() -> dict[str, str]:
    """What the table says: the test of each row."""
    text = (ROOT / "interop" / "README.md").read_text()
    found = re.findall(r"^\| ([XYSM]-?\d+) \|.*\| `([^`|]+)` \|$", text, re.MULTILINE)
    rows = dict(found)
    assert len(rows) == len(found), "a row stands twice in the table"
    return rows


@cache
def names_in(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text()))
    functions = (node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {node.name for node in functions if node.name.startswith("test_")}


def rows_with_tests() -> dict[str, str]:
    """The row of each test of this folder, by the test's name: ``test_y_07_...`` is Y-7."""
    rows = {}
    for path in sorted(Path(__file__).parent.glob("test_*_rows.py")):
        for name in names_in(path):
            match = re.match(r"test_([xysm])_(\d+)_", name)
            if match:
                row = f"{match[1].upper()}{'' if match[1] == 'x' else '-'}{int(match[2])}"
                rows[name] = row
    return rows


def test_every_row_is_in_the_table() -> None:
    assert [row for row in ROWS if row not in table()] == []


@pytest.mark.parametrize("row", [*table()])
def test_the_test_of_a_row_is_there_and_has_its_name(row: str) -> None:
    path, _, name = table()[row].partition("::")
    assert name in names_in(ROOT / path)
    letter, number = row[0].lower(), int(row.lstrip("XYSM-"))
    assert name.startswith(f"test_{letter}_{number:02}_")


def test_every_test_of_a_row_is_in_the_table() -> None:
    missing = {row for row in rows_with_tests().values() if row not in table()}
    assert not missing
