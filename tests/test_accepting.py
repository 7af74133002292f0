"""The accept loop: what is wrong with one connection, or for a while, ends nothing else."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import create_task_group

from muxado_py import accepting
from muxado_py.accepting import Accepting

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio


def no_descriptors() -> Exception:
    return OSError(errno.EMFILE, "Too many open files")


def no_descriptors_on_trio() -> Exception:
    """anyio says nothing itself, and means its cause."""
    exc = anyio.BrokenResourceError()
    exc.__cause__ = no_descriptors()
    return exc


@pytest.mark.parametrize("trouble", [no_descriptors, no_descriptors_on_trio])
async def test_a_listener_that_cannot_accept_for_a_while_goes_on(
    trouble: Callable[[], Exception],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(accepting, "ACCEPT_DELAY", 0)
    found: list[str] = []
    came: list[Exception | str] = ["first", trouble(), trouble(), "second"]
    done = anyio.Event()

    async def accept(_: object) -> str:
        if not came:
            await anyio.sleep_forever()
        one = came.pop(0)
        if isinstance(one, Exception):
            raise one
        return one

    async def handle(one: str) -> None:
        found.append(one)
        if one == "second":
            done.set()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as bound:
        listener: Accepting[Any] = Accepting(bound, accept)
        async with create_task_group() as tasks:
            tasks.start_soon(listener.serve, handle, tasks)
            with anyio.fail_after(10):
                await done.wait()
            await listener.aclose()
    assert found == ["first", "second"]
    assert caplog.text.count("cannot accept a connection: [Errno 24] Too many open files") == 2
