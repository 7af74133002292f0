"""What the tests of the servers share."""

from __future__ import annotations

import pytest

MODULES = ("serving", "_anycorn", "_uvicorn", "_waitress")


@pytest.fixture
def short_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not notice that its stream was reset is cancelled sooner: for tests of what happens then."""
    for module in MODULES:
        monkeypatch.setattr(f"muxado_py.integrations.{module}.NOTICE_TIME", 0.1)
