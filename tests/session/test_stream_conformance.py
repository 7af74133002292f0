"""A stream is an anyio byte stream like any other, over every kind of transport."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import muxado_py as muxado

from ..by_url import TRANSPORTS, sessions_by_url
from ..check_byte_stream import check_byte_stream
from ..transports import KINDS, open_transports

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
async def test_a_stream_is_an_anyio_byte_stream(kind: str, tmp_path: Path) -> None:
    # What a byte costs on the trickle makes a small window the same test.
    window, large = (500, 2_000) if kind == "trickle" else (64_000, 400_000)
    config = muxado.Config(initial_window=window, stream_window=window, send_buffer=window // 2)
    async with (
        open_transports(kind, tmp_path) as (near, far),
        muxado.client(near, config) as dialed,
        muxado.server(far, config) as accepted,
    ):
        await check_streams_of(dialed, accepted, large)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", TRANSPORTS)
async def test_a_stream_by_url_is_an_anyio_byte_stream(scheme: str, tmp_path: Path) -> None:
    config = muxado.Config(initial_window=64_000, stream_window=64_000, send_buffer=32_000)
    async with sessions_by_url(config, scheme=scheme, folder=tmp_path) as (dialed, accepted):
        await check_streams_of(dialed, accepted, 400_000)


async def check_streams_of(dialed: muxado.Session, accepted: muxado.Session, large: int) -> None:
    opened = 0

    async def make_pair() -> tuple[muxado.Stream, muxado.Stream]:
        nonlocal opened
        opened += 1
        sides = (dialed, accepted) if opened % 4 < 2 else (accepted, dialed)
        return await sides[0].open_stream(), await sides[1].accept_stream()

    await check_byte_stream(make_pair, large=large)
