"""``serve_asgi``: a Starlette application behind uvicorn and anycorn, called through a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

import muxado_py as muxado
from muxado_py.integrations import StartupError, httpx_client, retry_verdict, serve_asgi

from .apps import CHUNK, AsgiApp, serving

if TYPE_CHECKING:
    from ..conftest import SessionPair

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["auto", "anycorn"])
def server(request: pytest.FixtureRequest) -> str:
    """uvicorn where there is asyncio, and anycorn everywhere."""
    name: str = request.param
    return name


async def test_five_requests_use_one_stream(session_pair: SessionPair, server: str) -> None:
    app = AsgiApp()
    async with (
        serving(session_pair, serve_asgi, app.asgi, server=server) as (session, listener),
        httpx_client(session) as client,
    ):
        for _ in range(5):
            response = await client.get("http://app/")
            assert (response.status_code, response.text) == (200, "hello")
        assert len(listener.accepted) == 1
    assert app.log == ["startup", "shutdown"]
