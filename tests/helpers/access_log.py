"""What one logger said, whatever others had to say meanwhile.

Waitress warns of its queue when a request comes before one of its threads has begun to wait: on a busy machine, to a test
that is about something else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def access_log(caplog: pytest.LogCaptureFixture, logger: str = "muxado.access") -> list[str]:
    """The lines of an access log, without the client's address, whose port is another one each time."""
    messages = [record.getMessage() for record in caplog.records if record.name == logger]
    return [message.partition(" - ")[2] for message in messages]
