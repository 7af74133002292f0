"""A few dozen sessions of ``python -m interop.closing``."""

from __future__ import annotations

import pytest

from .closing.__main__ import closing
from .closing.plan import LOOPS, TRANSPORTS
from .closing.verdict import Verdict

pytestmark = pytest.mark.timeout(300, func_only=True)

SESSIONS = 12


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("loop", LOOPS)
def test_no_byte_is_lost_in_silence(loop: str, transport: str) -> None:
    verdict = Verdict()
    closing(verdict, loop, transport, 1, 0, SESSIONS, SESSIONS)
    assert verdict.findings == []
    assert verdict.counts["sessions"] == SESSIONS
    assert verdict.counts["bytes arrived"] > 0
