"""What the workshop builds, it builds once, for however many processes that share its directory."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from . import workshop as module
from .workshop import GoSource, ToolchainError, Workshop

if TYPE_CHECKING:
    from pathlib import Path

    from .workshop import Source

SOURCES = [GoSource("one"), GoSource("one", tags="v2"), GoSource("two")]
WORKERS = 4


@pytest.mark.parametrize("fails", [False, True])
def test_each_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    """Each worker has its own workshop; a lock of a file knows threads as little as it knows processes."""
    built: list[Source] = []
    start = threading.Barrier(WORKERS)

    def build(source: Source, directory: Path) -> Path:
        built.append(source)
        time.sleep(0.05)  # so that the others come meanwhile
        if fails:
            raise ToolchainError(f"no {source}")
        (directory / "program").write_text(repr(source))
        return directory / "program"

    def work() -> list[str]:
        workshop = Workshop(tmp_path / "puppets")
        start.wait()
        said = []
        for source in SOURCES:
            try:
                said.append(workshop.program(source).read_text())
            except ToolchainError as error:
                said.append(str(error))
        return said

    monkeypatch.setattr(module, "_build", build)
    with ThreadPoolExecutor(WORKERS) as workers:
        answers = [one.result() for one in [workers.submit(work) for _ in range(WORKERS)]]
    assert answers == [[f"no {one}" if fails else repr(one) for one in SOURCES]] * WORKERS
    assert sorted(map(repr, built)) == sorted(map(repr, SOURCES))


def test_what_was_built_of_other_sources_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(source: Source, directory: Path) -> Path:
        (directory / "program").write_bytes(main.read_bytes())
        return directory / "program"

    main = tmp_path / "here" / "go" / "one" / "main.go"
    main.parent.mkdir(parents=True)
    monkeypatch.setattr(module, "HERE", tmp_path / "here")
    monkeypatch.setattr(module, "_build", build)
    for text in ("package main", "package main // of today"):
        main.write_text(text)
        assert Workshop(tmp_path / "builds").program(SOURCES[0]).read_text() == text
