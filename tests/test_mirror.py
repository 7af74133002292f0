"""What a module is and where it is tested: in a file of its name, or where CONTRIBUTING says."""

from __future__ import annotations

import re
from pathlib import Path

import muxado_py

from .module_list import module_list

PACKAGE = Path(muxado_py.__file__).parent
ROOT = PACKAGE.parent
SECTION = (
    (ROOT / "CONTRIBUTING.md").read_text().split("## Where the tests are")[1].split("\n## ")[0]
)
TABLE = dict(re.findall(r"^\| (`\w.*?) \| (.*) \|$", SECTION, re.MULTILINE))
"""Modules, or a whole folder, with the files that test them."""

ELSEWHERE = {
    module: files for modules, files in TABLE.items() for module in re.findall(r"`(.+?)`", modules)
}


def modules() -> list[str]:
    """What the package consists of: ``protocol/end_table.py``."""
    paths = (path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
    return sorted(str(path) for path in paths if not path.name.startswith("__"))


def namesake(module: str) -> Path:
    path = Path(module)
    return ROOT / "tests" / path.parent / f"test_{path.stem.strip('_')}.py"


def test_each_module_has_a_file_of_its_name_or_a_line_in_the_table() -> None:
    found = modules()
    assert "protocol/end_table.py" in found
    missing = [
        one
        for one in found
        if not namesake(one).exists()
        and one not in ELSEWHERE
        and f"{Path(one).parent}/" not in ELSEWHERE
    ]
    assert not missing


def test_the_table_has_no_line_too_many() -> None:
    for one in ELSEWHERE:
        assert (PACKAGE / one).exists(), one
        assert one.endswith("/") or not namesake(one).exists(), one


def test_the_table_names_tests_that_exist() -> None:
    for one, files in ELSEWHERE.items():
        named = re.findall(r"`(.+?)`", files)
        assert named, one
        for name in named:
            assert (ROOT / "tests" / name).is_file(), name


def test_the_list_of_modules_is_what_they_say_of_themselves() -> None:
    listed = (ROOT / "docs" / "modules.md").read_text()
    assert listed == module_list(), "python -m tests.module_list > docs/modules.md"
