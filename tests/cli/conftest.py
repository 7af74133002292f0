"""Commands that run in the tests' own process: they configure logging, and none takes the other for dead."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from muxado_py.cli.agents import suspicion
from muxado_py.cli.serving import watchdog

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Put the loggers back: records of later tests have to reach pytest's handlers again."""
    loggers = [logging.getLogger(name) for name in ("muxado", "uvicorn", "anycorn", "waitress")]
    before = [(one, one.handlers[:], one.propagate, one.level) for one in loggers]
    yield
    for one, handlers, propagate, level in before:
        one.handlers[:] = handlers
        one.propagate = propagate
        one.setLevel(level)
    assert logging.lastResort is not None
    logging.lastResort.setFormatter(None)


@pytest.fixture(autouse=True)
def nobody_is_suspected(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agents of most tests are in their own process, and so as slow as a machine with much to do makes that."""
    monkeypatch.setattr(suspicion, "ANSWER", 3600.0)
    monkeypatch.setattr(watchdog, "ANSWER", 3600.0)
