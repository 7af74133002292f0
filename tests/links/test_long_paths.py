"""Sessions over a long path: one stream is not held to its first window in each round trip."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from anyio import create_task_group

import muxado_py as muxado
from muxado_py.links import anyio_link

from .. import virtual_time
from ..transports import late_transports

pytestmark = pytest.mark.anyio

ROUND_TRIP = 0.04
WINDOW = 256 * 1024
VOLUME = 64 * WINDOW


@pytest.fixture(autouse=True)
def one_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The link measures its transport on the finest clock there is; here that is the jumping one."""
    monkeypatch.setattr(anyio_link, "perf_counter", anyio.current_time)


@pytest.fixture(params=virtual_time.BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_time.backend(request.param)


async def round_trips(config: muxado.Config, *, pause: float = 0) -> float:
    """How many round trips ``VOLUME`` bytes on one stream take, from first to last.

    :param pause: seconds that the reader takes for each window.
    """
    near, far = late_transports(ROUND_TRIP / 2)
    async with muxado.client(near, config) as client, muxado.server(far, config) as server:

        async def send() -> None:
            async with await client.open_stream() as stream:
                for _ in range(VOLUME // 65536):
                    await stream.send(bytes(65536))

        received = 0
        async with create_task_group() as tasks:
            tasks.start_soon(send)
            stream = await server.accept_stream()
            started = anyio.current_time()
            while received < VOLUME:
                if pause:
                    await anyio.sleep(pause)
                received += len(await stream.receive(VOLUME))
            ended = anyio.current_time()
    return (ended - started) / ROUND_TRIP


@pytest.mark.parametrize("wire", ["muxado", "yamux", "smux2"])
async def test_a_long_path_is_used(wire: str) -> None:
    assert await round_trips(muxado.Config(wire=wire)) < 24


@pytest.mark.parametrize("wire", ["muxado", "yamux", "smux2"])
async def test_a_window_that_may_not_grow_is_used_whole(wire: str) -> None:
    taken = await round_trips(muxado.Config(wire=wire, max_stream_window=0))
    assert 60 <= taken <= 66


async def test_a_window_of_a_slow_reader_stays() -> None:
    """Were it to grow, the reader would find more than a window each time."""
    assert await round_trips(muxado.Config(), pause=4 * ROUND_TRIP) >= 4 * 64
