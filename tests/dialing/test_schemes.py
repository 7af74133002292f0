"""The table of schemes: what each says of itself holds, for every scheme there is and for those to come."""

from __future__ import annotations

import pytest

import muxado_py as muxado
from muxado_py.cli.trust.exposure import is_local
from muxado_py.dialing.scheme import Options
from muxado_py.dialing.schemes import SCHEMES, check_options, parse_url, scheme_of, url_of

from ..transports import tls_contexts

pytestmark = pytest.mark.anyio

EXAMPLES = {
    "tcp": "tcp://relay.example:7000",
    "tls": "tls://relay.example:7000",
    "unix": "unix:///run/relay",
    "ws": "ws://relay.example:7000/tunnel?of=ours",
    "wss": "wss://relay.example:7000",
    "exec": "exec:ssh relay.example muxado gateway --stdio",
    "stdio": "stdio:",
}
"""A URL of each, as it is written back."""


def test_every_scheme_has_an_example() -> None:
    assert EXAMPLES.keys() == SCHEMES.keys()


@pytest.mark.parametrize("name", SCHEMES)
def test_a_url_is_written_as_it_was_read(name: str) -> None:
    url = EXAMPLES[name]
    address = parse_url(url)
    assert url_of(address) == url
    assert scheme_of(url) is scheme_of(address) is SCHEMES[name]
    assert parse_url(url.replace(name, name.upper(), 1)) == address


@pytest.mark.parametrize("name", SCHEMES)
def test_a_scheme_alone_is_no_url(name: str) -> None:
    for url in (name, f"{name}//x", f"{name}x:y"):
        with pytest.raises(ValueError, match="is no address of a session; expected "):
            parse_url(url)


@pytest.mark.parametrize("name", [name for name, one in SCHEMES.items() if one.has_host])
@pytest.mark.parametrize("wrong", ["\n", "\t", "\0", " ", "\x7f", "\udcff"])
def test_nothing_of_a_url_is_dropped(name: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=r"space.*; expected "):
        parse_url(f"{name}://relay{wrong}.example:7000")


@pytest.mark.parametrize(
    "url", ["wss://us:pa55word@h/", "tcp://us:pa55/@word@h:1", "http://us:pa55word@h:port"]
)
def test_an_error_does_not_repeat_a_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"://us:\.\.\.@h") as caught:
        parse_url(url)
    assert "pa55" not in str(caught.value)


@pytest.mark.parametrize("name", SCHEMES)
def test_a_url_without_a_host_is_of_this_machine(name: str) -> None:
    assert is_local(EXAMPLES[name]) is not SCHEMES[name].has_host


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("listens", [False, True])
def test_an_option_is_taken_or_refused_with_the_schemes_that_take_it(
    name: str, listens: bool
) -> None:
    scheme, url = SCHEMES[name], EXAMPLES[name]
    if not (scheme.listens if listens else scheme.dials):
        with pytest.raises(ValueError, match=r"is for (connect|listen)\(\) only$"):
            check_options(url, Options(), listens=listens)
        return
    options = Options(ssl_context=tls_contexts()[listens])
    if scheme.has_tls:
        check_options(url, options, listens=listens)
    else:
        with pytest.raises(ValueError, match=r"^an ssl_context needs a tls://.* URL, got '"):
            check_options(url, options, listens=listens)


@pytest.mark.parametrize("name", SCHEMES)
async def test_the_public_calls_say_the_same(name: str) -> None:
    scheme = SCHEMES[name]
    for open_, fits in ((muxado.connect, scheme.dials), (muxado.listen, scheme.listens)):
        if not fits or not scheme.has_tls:
            with pytest.raises(ValueError, match=r"needs a tls://|only$"):
                async with open_(EXAMPLES[name], ssl_context=tls_contexts()[0]):
                    pytest.fail("opened")
