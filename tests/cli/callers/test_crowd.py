"""Whoever has one address does not have all of a door."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxado_py.cli.callers.crowd import Crowd
from muxado_py.cli.http_door.limits import Limits
from muxado_py.cli.options import HttpDoor, Published

from ..http_door.door import Replying
from ..http_door.test_websockets import HANDSHAKE, SWITCHING, echo
from ..test_gateway import HERE, agent, everything, running

if TYPE_CHECKING:
    from anyio.abc import SocketStream

LIMIT = 8


def let_in(crowd: Crowd, host: str | None, limit: int, served: list[object]) -> bool:
    """Whether a door with ``limit`` places takes one more caller."""
    free = limit - len(served)
    if free <= 0 or not crowd.has_room(host, free):
        return False
    caller = object()
    crowd.add(caller, host)
    served.append(caller)
    return True


def fill(crowd: Crowd, host: str | None, limit: int, served: list[object]) -> int:
    """How many callers from there come in."""
    count = 0
    while let_in(crowd, host, limit, served):
        count += 1
    return count


def test_one_address_has_three_quarters_and_the_next_of_what_is_left() -> None:
    crowd = Crowd()
    served: list[object] = []
    assert fill(crowd, "192.0.2.1", 500, served) == 375
    assert fill(crowd, "192.0.2.2", 500, served) == 94
    assert fill(crowd, "192.0.2.3", 500, served) == 24
    assert fill(crowd, "192.0.2.1", 500, served) == 0


@pytest.mark.parametrize(
    "host", [None, "127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"], ids=str
)
def test_a_proxy_on_this_machine_may_stand_for_everybody(host: str | None) -> None:
    assert fill(Crowd(), host, 100, []) == 100


@pytest.mark.parametrize(
    ("one", "other", "is_one"),
    [
        ("2001:db8::1", "2001:db8::2:3:4:5", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_what_is_one_address(one: str, other: str, is_one: bool) -> None:
    crowd = Crowd()
    served: list[object] = []
    assert fill(crowd, one, 100, served) == 75
    assert let_in(crowd, other, 100, served) is not is_one


@given(
    st.integers(1, 40),
    st.lists(
        st.tuples(st.integers(0, 4), st.none() | st.sampled_from(("192.0.2.1", "192.0.2.2", "::5")))
    ),
)
def test_whoever_comes_first_from_an_address_is_let_in_as_long_as_there_is_room(
    limit: int, steps: list[tuple[int, str | None]]
) -> None:
    crowd = Crowd()
    served: list[object] = []
    for leaves, host in steps:
        if leaves == 0 and served:
            crowd.remove(served.pop())
        else:
            let_in(crowd, host, limit, served)
        if len(served) < limit:
            assert crowd.has_room("198.51.100.7", limit - len(served))
    for caller in served * 2:
        crowd.remove(caller)
    assert fill(crowd, "192.0.2.1", 500, []) == 375  # nothing is kept of those that have left


@pytest.mark.anyio
@pytest.mark.slow
@pytest.mark.parametrize("over", ["bytes", "http"])
async def test_a_door_has_room_for_another_address(
    over: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muxado_py.cli.callers.crowd.is_here", lambda host: False)
    http = HttpDoor(HERE, "test", Limits()) if over == "http" else None
    app = Replying(SWITCHING + b"welcome", echo)
    async with (
        running(limit=LIMIT, doors=[Published(HERE, "app")], http=http) as gate,
        agent(gate.url, app, names=("app",)),
        AsyncExitStack() as stack,
    ):
        port = gate.ports[-1]

        async def call(host: str) -> SocketStream | None:
            """A caller that is served, and stays."""
            caller = await anyio.connect_tcp("127.0.0.1", port, local_host=host)
            await caller.send(HANDSHAKE)
            if b" 101 " in await caller.receive():
                return await stack.enter_async_context(caller)
            await everything(caller)
            await caller.aclose()
            return None

        there = [await call("127.0.0.2") for _ in range(LIMIT)]
        assert sum(caller is not None for caller in there) == 6
        assert await call("127.0.0.3") is not None
        assert await call("127.0.0.2") is None
        assert await call("127.0.0.4") is not None
        for caller in there:
            if caller is not None:
                await caller.aclose()
        came = 0
        with anyio.fail_after(60):
            while came < 5:  # the gateway hears in its own time that they have left
                came += await call("127.0.0.2") is not None
