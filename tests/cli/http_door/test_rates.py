"""How many requests one caller may make in a while, and how many may come for one name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from muxado_py.cli.http_door import rates as rates_module
from muxado_py.cli.http_door.limits import Limits
from muxado_py.cli.http_door.rates import MAX_KEPT, Rate, Rates, parse_rate

from .door import OK, Replying, agent, door, everything, heard, request

if TYPE_CHECKING:
    import muxado_py as muxado

CLOSE = b"Connection: close"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def let_in(rates: Rates, client: str | None, name: str = "app", *, most: int = 1000) -> int:
    """How many come in one moment."""
    for number in range(most):
        if rates.wait(client, name):
            return number
        rates.count(client, name)
    return most


@pytest.mark.parametrize(
    ("text", "rate"),
    [("10/s", Rate(10, 1.0)), ("600/m", Rate(600, 60.0)), ("1/h", Rate(1, 3600.0))],
)
def test_a_rate_is_a_number_in_a_while(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["10", "0/s", "10/", "10/d", "-1/s", "1.5/s", "10/2s", "9999999999/s"]
)
def test_what_is_no_rate_is_shown_with_what_would_be(text: str) -> None:
    with pytest.raises(ValueError, match="write 10/s"):
        parse_rate(text)


def test_as_many_come_at_once_and_then_one_more_as_time_goes_by() -> None:
    clock = Clock()
    rates = Rates(parse_rate("60/m"), None, clock)
    assert let_in(rates, "192.0.2.1") == 60
    assert rates.wait("192.0.2.1", "app") == pytest.approx(1.0)
    for _ in range(5):
        clock.now += 1.001
        assert let_in(rates, "192.0.2.1") == 1
    clock.now += 3600
    assert let_in(rates, "192.0.2.1") == 60


def test_who_is_refused_and_comes_again_and_again_waits_no_longer() -> None:
    clock = Clock()
    rates = Rates(parse_rate("1/s"), None, clock)
    assert let_in(rates, "192.0.2.1") == 1
    for _ in range(100):
        assert rates.wait("192.0.2.1", "app")
    clock.now += 1.001
    assert not rates.wait("192.0.2.1", "app")


@pytest.mark.parametrize(
    ("one", "other", "is_one"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        (None, None, True),
        (None, "127.0.0.1", False),
    ],
)
def test_each_caller_has_its_own(one: str | None, other: str | None, *, is_one: bool) -> None:
    rates = Rates(parse_rate("5/m"), None, Clock())
    assert let_in(rates, one) == 5
    assert let_in(rates, other) == (0 if is_one else 5)


def test_a_name_has_one_for_all_of_its_callers() -> None:
    rates = Rates(parse_rate("5/m"), parse_rate("8/m"), Clock())
    assert [let_in(rates, f"192.0.2.{number}") for number in range(3)] == [5, 3, 0]
    assert let_in(rates, "192.0.2.2", "other") == 5


def test_many_addresses_take_no_more_memory_than_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_KEPT <= 10_000
    monkeypatch.setattr(rates_module, "MAX_KEPT", 100)
    clock = Clock()
    rates = Rates(parse_rate("1/h"), None, clock)
    callers = [f"10.0.{number >> 8}.{number & 255}" for number in range(1000)]
    assert all(let_in(rates, caller) == 1 for caller in callers)
    assert sum(bool(rates.wait(caller, "app")) for caller in callers) == 100
    assert all(rates.wait(caller, "app") for caller in callers[-100:])  # the latest
    clock.now += 3601
    for caller in callers[:60]:
        rates.count(caller, "app")
    clock.now += 3601
    assert not any(rates.wait(caller, "app") for caller in callers)


@pytest.mark.anyio
@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    "limits",
    [Limits(caller_rate=parse_rate("3/h")), Limits(name_rate=parse_rate("3/h"))],
    ids=["caller", "name"],
)
async def test_who_asks_too_often_is_told_when_to_come_again_and_no_agent_hears_of_it(
    limits: Limits,
) -> None:
    app, other = Replying(), Replying()
    async with (
        door(limits) as gate,
        agent(gate.url, app, names=("app",)),
        agent(gate.url, other, names=("other",)),
        await gate.connect() as caller,
    ):
        for _ in range(3):
            await caller.send(request())
            assert await heard(caller, b"ok") == OK
        await caller.send(request(b"Content-Length: 0", start=b"POST / HTTP/1.1"))
        answer = await heard(caller, b"in a while.\n")
        assert answer.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
        field = answer.partition(b"Retry-After: ")[2].partition(b"\r\n")[0]
        assert 0 < int(field) <= 1200
        assert b"Connection: close" not in answer  # for it may ask for something else
        await caller.send(request(CLOSE, name=b"other"))
        answer = await everything(caller)
    assert len(app.heard) == 3
    assert (b" 429 " in answer) is (limits.caller_rate is not None)
    assert len(other.heard) == (limits.caller_rate is None)


@pytest.mark.anyio
async def test_those_behind_a_trusted_proxy_are_counted_each_for_itself() -> None:
    limits = Limits(caller_rate=parse_rate("1/h"))
    app = Replying()
    async with (
        door(limits, fronts="127.0.0.1") as gate,
        agent(gate.url, app, names=("app",)),
        await gate.connect() as front,
    ):
        for client, end in (
            (b"192.0.2.1", b"ok"),
            (b"192.0.2.2", b"ok"),
            (b"192.0.2.1", b"while.\n"),
        ):
            await front.send(request(b"X-Forwarded-For: " + client))
            assert await heard(front, end)
    assert len(app.heard) == 2


@pytest.mark.anyio
@pytest.mark.usefixtures("way")
async def test_what_no_agent_had_does_not_count_and_what_two_had_counts_once() -> None:
    async def refuse(stream: muxado.Stream) -> None:
        stream.refuse()

    app = Replying()
    async with (
        door(Limits(caller_rate=parse_rate("2/h"))) as gate,
        await gate.connect() as caller,
    ):
        for _ in range(3):
            await caller.send(request())
            assert b"No agent serves" in await heard(caller, b"\n")
        async with (
            agent(gate.url, refuse, names=("app",)),
            agent(gate.url, refuse, names=("app",)),
            agent(gate.url, app, names=("app",)),
        ):
            for end in (b"ok", b"ok", b"while.\n"):
                await caller.send(request())
                assert await heard(caller, end)
    assert len(app.heard) == 2
