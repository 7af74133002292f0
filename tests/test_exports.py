"""What each module says it exports is true, and the README's table is."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import muxado_py as muxado
from muxado_py import blocking

README = (Path(__file__).resolve().parent.parent / "README.md").read_text()
TABLE = README.split("## Which object do I need?")[1].split("\n## ")[0]

MODULES = [
    "muxado_py",
    *(module.name for module in pkgutil.walk_packages(muxado.__path__, "muxado_py.")),
]
MODULES.remove("muxado_py.__main__")  # runs when it is imported

modules = pytest.mark.parametrize("name", MODULES)


@modules
def test_it_says_what_it_exports(name: str) -> None:
    module = importlib.import_module(name)
    exported = module.__all__
    assert isinstance(exported, tuple)
    assert len(set(exported)) == len(exported)
    for one in exported:
        assert hasattr(module, one), one
        assert not one.startswith("_"), one


@modules
def test_it_opens_with_an_essay(name: str) -> None:
    assert importlib.import_module(name).__doc__


@modules
def test_what_others_of_the_package_take_is_exported_or_a_constant(name: str) -> None:
    """A class or a function that another module imports is part of what its module offers."""
    module = importlib.import_module(name)
    assert module.__file__ is not None
    package = name if module.__file__.endswith("__init__.py") else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            target = importlib.import_module("." * node.level + (node.module or ""), package)
            for alias in node.names:
                taken = getattr(target, alias.name, None)
                if inspect.isclass(taken) or inspect.isfunction(taken):
                    assert alias.name in target.__all__, f"{target.__name__}.{alias.name}"


def test_public_names_are_documented() -> None:
    for name in muxado.__all__:
        assert inspect.getdoc(getattr(muxado, name)), name


def spans() -> list[str]:
    """The code in the second column of the README's table."""
    rows = [line.split("|")[2] for line in TABLE.splitlines() if line.startswith("| ")]
    return [span for row in rows[1:] for span in re.findall(r"`([^`]+)`", row)]


def test_the_readme_names_what_there_is() -> None:
    assert len(spans()) > 15
    for span in spans():
        owner, _, attribute = span.partition("(")[0].rpartition(".")
        if owner == "session":
            assert hasattr(muxado.Session, attribute), span
        elif owner == "listener":
            assert hasattr(muxado.SessionListener, attribute), span
        elif owner == "pool":
            assert hasattr(muxado.Pool, attribute), span
        elif owner == "stream":
            assert hasattr(muxado.Stream, attribute), span
        elif owner == "error":
            assert attribute in inspect.get_annotations(muxado.MuxadoError), span
        elif owner == "blocking":
            assert attribute in blocking.__all__, span
        elif owner == "integrations":
            importlib.import_module(f"muxado_py.integrations.{attribute}")
        elif not span.startswith(("tcp", "tls", "unix", "open_stream", "from muxado_py")):
            assert owner == "", span
            assert attribute in muxado.__all__, span


def test_the_readme_names_everything_one_calls() -> None:
    for name in muxado.__all__:
        value = getattr(muxado, name)
        if inspect.isfunction(value) or name in ("Config", "Priority"):
            assert any(span.startswith(name) for span in spans()), name
