"""What is said on the command line of the door for HTTP requests, and what does not go together."""

from __future__ import annotations

import click
import pytest

from muxado_py.cli.commands.http_door import HttpOptions, http_door
from muxado_py.cli.http_door.fronts import parse_fronts
from muxado_py.cli.http_door.rates import parse_rate
from muxado_py.cli.options import Address

NO_DOOR = HttpOptions(None, None, None, 60.0, None, None, None, None)
HERE = Address("127.0.0.1", 8080)


def test_without_an_address_no_request_comes_in() -> None:
    assert http_door(NO_DOOR) is None
    assert http_door(NO_DOOR._replace(head_timeout=1.0)) is None  # that is for all doors


def test_an_agent_has_a_minute_to_answer_where_nothing_is_said() -> None:
    door = http_door(NO_DOOR._replace(http=HERE, domain="example.org"))
    assert door is not None
    assert door.limits.answer == 60


def test_each_limit_has_its_place() -> None:
    fronts = parse_fronts("10.0.0.0/8")
    by_caller, by_name = parse_rate("10/s"), parse_rate("600/h")
    door = http_door(HttpOptions(HERE, "example.org", fronts, 1.0, 2.0, 3, by_caller, by_name))
    assert door is not None
    assert (door.address, door.domain, door.fronts) == (HERE, "example.org", fronts)
    limits = door.limits
    assert (limits.head, limits.answer, limits.max_body) == (1.0, 2.0, 3)
    assert (limits.caller_rate, limits.name_rate) == (by_caller, by_name)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (NO_DOOR._replace(http=HERE), "go together"),
        (NO_DOOR._replace(domain="example.org"), "go together"),
        (NO_DOOR._replace(fronts=parse_fronts("unix")), "--forwarded-allow-ips needs --http"),
        (NO_DOOR._replace(caller_rate=parse_rate("1/s")), "need --http"),
        (NO_DOOR._replace(name_rate=parse_rate("1/s")), "need --http"),
        (NO_DOOR._replace(max_body=0), "--limit-request-body needs --http"),
        (NO_DOOR._replace(answer_timeout=2.0), "--timeout-answer needs --http"),
    ],
)
def test_what_needs_a_door(options: HttpOptions, said: str) -> None:
    with pytest.raises(click.UsageError, match=said):
        http_door(options)
