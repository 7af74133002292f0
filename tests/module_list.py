"""What each module of the package is, in its own words: ``python -m tests.module_list > docs/modules.md``."""

from __future__ import annotations

import ast
from pathlib import Path

import muxado_py

from .test_layers import FOLDERS, ORDER

ROOT = Path(muxado_py.__file__).parent

HEAD = """# The modules

The first sentence of each module, in the order in which the data flows; a module knows only those before it. Made by
`python -m tests.module_list > docs/modules.md`, and checked by a test.
"""


def first_sentence(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return " ".join(text.split("\n\n")[0].split()).split(".  ")[0]


def modules_of(folder: str) -> list[Path]:
    if folder in FOLDERS:
        return [ROOT / folder / f"{name}.py" for name in FOLDERS[folder]]
    if (ROOT / folder).is_dir():
        return sorted(path for path in (ROOT / folder).rglob("*.py") if path.stem[:2] != "__")
    return [ROOT / f"{folder}.py"]


def module_list() -> str:
    """The whole page."""
    lines = [HEAD]
    for folder in ORDER:
        lines.append(f"## {folder}\n\n| module | is |\n|---|---|")
        lines += [
            f"| `{path.relative_to(ROOT)}` | {first_sentence(path)} |"
            for path in modules_of(folder)
        ]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    print(module_list(), end="")
