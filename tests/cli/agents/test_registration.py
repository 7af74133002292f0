"""The form of a registration: what is read of whatever comes."""

from __future__ import annotations

import json
import math

import pytest
from anyio import EndOfStream
from anyio.abc import ByteReceiveStream
from hypothesis import given
from hypothesis import strategies as st

from muxado_py.cli.agents.registration import MAX_LINE, Lines, Registration, line

pytestmark = pytest.mark.anyio


class Pieces(ByteReceiveStream):
    """What comes, in pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = [piece for piece in pieces if piece]
        self.taken = 0

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if not self._pieces:
            raise EndOfStream
        data = self._pieces[0][:max_bytes]
        self._pieces[0] = self._pieces[0][max_bytes:]
        if not self._pieces[0]:
            del self._pieces[0]
        self.taken += len(data)
        return data

    async def aclose(self) -> None:
        pass


@pytest.fixture
def anyio_backend() -> str:
    """Nothing here waits for anything."""
    return "asyncio"


@pytest.mark.parametrize(
    "registration",
    [
        Registration(),
        Registration(("blog", "ssh")),
        Registration(("a",), exclusive=True, token="secret \N{SNOWMAN}"),
        Registration(("a",), exclusive=True, had=12.25),
    ],
)
async def test_what_is_said_is_what_is_understood(registration: Registration) -> None:
    said = await Lines(Pieces(registration.line())).next()
    assert Registration.parse(said) == registration


async def test_every_name_that_an_agent_may_have_fits_with_a_long_token() -> None:
    names = tuple(f"{number:063}" for number in range(64))
    registration = Registration(names, token="t" * 8192)
    assert Registration.parse(await Lines(Pieces(registration.line())).next()) == registration


async def test_a_line_may_come_in_any_pieces_and_two_at_once() -> None:
    whole = line(a=1) + line(b=2)
    for cut in range(len(whole)):
        lines = Lines(Pieces(whole[:cut], whole[cut:]))
        assert (await lines.next())["a"] == 1
        assert (await lines.next())["b"] == 2


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "no line of JSON"),
        (b"x", "no line of JSON"),
        (b"{]\n", "no line of JSON"),
        (b'{"muxado": 1, "a": "\xff"}\n', "no line of JSON"),
        ('{"muxado": 1}'.encode("utf-16") + b"\n", "no line of JSON"),
        (b'{"a":' * 3000 + b"\n", "no line of JSON"),
        (b'{"muxado": ' + b"9" * 5000 + b"}\n", "no line of JSON"),
        (b'{"muxado": 1, "register": ["a"], "register": ["b"]}\n', "no line of JSON"),
        (b"{}\n", '"muxado" must be 1'),
        (b'{"muxado": 2}\n', '"muxado" must be 1'),
        (b'{"muxado": true}\n', '"muxado" must be 1'),
        (b'{"muxado": 1' + b" " * MAX_LINE, "at most 16384 bytes"),
    ],
)
async def test_what_is_no_line_is_refused_with_a_reason(said: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        await Lines(Pieces(said)).next()


async def test_no_more_is_taken_than_a_line_may_have() -> None:
    endless = Pieces(b"{" * 10 * MAX_LINE)
    with pytest.raises(ValueError, match="at most"):
        await Lines(endless).next()
    assert endless.taken == MAX_LINE
    other = Pieces(*[b"no"] * MAX_LINE)
    with pytest.raises(ValueError, match="no line"):
        await Lines(other).next()
    assert other.taken == 2


@given(st.binary(max_size=200), st.integers(0, 200))
async def test_any_bytes_are_a_line_or_are_refused_and_pieces_change_nothing(
    said: bytes, cut: int
) -> None:
    outcomes = []
    for pieces in ((said,), (said[:cut], said[cut:])):
        try:
            outcomes.append(repr(await Lines(Pieces(*pieces)).next()))
        except (ValueError, EndOfStream) as exc:
            outcomes.append(repr(exc))
    assert outcomes[0] == outcomes[1]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@pytest.mark.slow
@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(("register", "exclusive", "token", "had"), json_values),
    )
)
def test_any_json_is_a_registration_or_is_refused(said: dict[str, object]) -> None:
    try:
        registration = Registration.parse(said)
    except ValueError:
        return
    assert json.loads(registration.line())["register"] == list(registration.names)
    assert registration == Registration.parse(json.loads(registration.line()))


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({}, "register must be a list"),
        ({"register": "blog"}, "register must be a list"),
        ({"register": [1]}, "register must be a list"),
        ({"register": ["Blog"]}, "not a name"),
        ({"register": [], "exclusive": 1}, "exclusive must be"),
        ({"register": [], "token": 7}, "token must be"),
        *(
            ({"register": [], "had": had}, "had must be")
            for had in (True, "1", -1, math.nan, math.inf, 10**400)
        ),
    ],
)
def test_what_is_no_registration_is_told_why(said: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Registration.parse(said)


def test_what_a_later_version_may_say_is_passed_over() -> None:
    assert Registration.parse({"register": ["a"], "weight": 3}) == Registration(("a",))
