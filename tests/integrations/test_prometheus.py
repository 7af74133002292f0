"""A pool as Prometheus sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

import muxado_py as muxado

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


async def answer(request: muxado.CallRequest) -> bytes:
    return request.payload


def scraped(registry: CollectorRegistry) -> dict[tuple[str, ...], float]:
    """The samples, by name, pool and what else there is."""
    return {
        (sample.name, sample.labels.pop("pool"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


async def test_a_scrape_has_the_targets_and_the_calls_of_each_pool(tmp_path: Path) -> None:
    url, down = f"unix://{tmp_path}/up", f"unix://{tmp_path}/down"
    registry = CollectorRegistry()
    with anyio.fail_after(30):
        async with (
            muxado.listen(url) as listener,
            muxado.connect_pool(url, down) as pool,
            muxado.connect_pool(url) as other,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(muxado.serve_calls, listener.net_listener(), answer)
            registry.register(muxado.pool_collector(pool, "one"))
            registry.register(muxado.pool_collector(other, "other"))
            for _ in range(3):
                assert await pool.call(b"question") == b"question"
            found = scraped(registry)
            tasks.cancel_scope.cancel()
    assert found["muxado_pool_connected", "one", url] == 1
    assert found["muxado_pool_connected", "one", down] == 0
    assert found["muxado_pool_sessions", "one", url] == 1
    assert found["muxado_pool_open_streams", "one", url] == 0
    assert found["muxado_pool_waiting", "one"] == 0
    assert found["muxado_calls_total", "one", "answered"] == 3
    assert found["muxado_calls_total", "other", "answered"] == 0
    assert found["muxado_call_attempts_total", "one"] == 3
    assert found["muxado_call_seconds_count", "one"] == 3
    assert found["muxado_call_seconds_bucket", "one", "+Inf"] == 3
    assert found["muxado_retry_budget", "one"] == 100


async def test_a_scrape_in_another_thread_sees_the_same(tmp_path: Path) -> None:
    """As by ``start_http_server``, which has threads of its own."""
    url = f"unix://{tmp_path}/up"
    registry = CollectorRegistry()
    with anyio.fail_after(30):
        async with (
            muxado.listen(url) as listener,
            muxado.connect_pool(url) as pool,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(muxado.serve_calls, listener.net_listener(), answer)
            registry.register(muxado.pool_collector(pool, "one"))
            assert await pool.call(b"question") == b"question"
            found = await anyio.to_thread.run_sync(scraped, registry)
            assert found == scraped(registry)
            tasks.cancel_scope.cancel()
    assert found["muxado_calls_total", "one", "answered"] == 1
    assert found["muxado_pool_connected", "one", url] == 1


def test_a_pool_whose_loop_is_over_has_nothing_to_say(
    tmp_path: Path, anyio_backend: tuple[str, dict[str, Any]]
) -> None:
    async def register() -> None:
        async with muxado.connect_pool(f"unix://{tmp_path}/down") as pool:
            registry.register(muxado.pool_collector(pool, "one"))

    registry = CollectorRegistry()
    anyio.run(register, backend=anyio_backend[0], backend_options=anyio_backend[1])
    assert scraped(registry) == {}


async def test_a_name_that_is_none_is_an_error_at_once(tmp_path: Path) -> None:
    async with muxado.connect_pool(f"unix://{tmp_path}/down") as pool:
        with pytest.raises(TypeError, match="name must be a str, got 7"):
            muxado.pool_collector(pool, 7)  # type: ignore[arg-type]
