"""What people type: taken as meant, or refused with a sentence that says what to type."""

from __future__ import annotations

import pytest

from muxado_py.cli.demo.proxy import EmulatedLink
from muxado_py.cli.options import (
    Address,
    Published,
    UnixAddress,
    check_url,
    parse_address,
    parse_admin,
    parse_door,
    parse_duration,
    parse_link,
    parse_published,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30.0), ("5m", 300.0), ("1h", 3600.0), ("250ms", 0.25), ("1.5", 1.5), (" 2 S ", 2.0)],
)
def test_a_duration_has_a_unit_or_is_in_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1s", "5 days", "1e3", "s"])
def test_what_is_no_duration_is_shown_with_what_would_be(text: str) -> None:
    with pytest.raises(ValueError, match="write 250ms, 30s, 5m or 1h"):
        parse_duration(text)


@pytest.mark.parametrize(
    "text", ["tcp://127.0.0.1:7000", "tls://relay.example:7000", "tls://[::1]:0", "unix:///run/m"]
)
def test_a_session_url_is_passed_on_as_it_is(text: str) -> None:
    assert check_url(text) == text


@pytest.mark.parametrize(
    "text",
    ["relay.example:7000", "http://relay:80", "tls://relay", "tcp://relay:99999", "tcp://h:1/app"],
)
def test_what_is_no_session_url_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="tcp://host:port"):
        check_url(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", Address("127.0.0.1", 8080)),
        ("[::1]:8080", Address("::1", 8080)),
        ("localhost:0", Address("localhost", 0)),
        ("8080", Address("127.0.0.1", 8080)),
    ],
)
def test_an_address_has_a_port_and_maybe_a_host(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "localhost", "::1:8080", "host:70000", "a b:1", "[::1]"])
def test_what_is_no_address_is_shown_with_what_would_be(text: str) -> None:
    with pytest.raises(ValueError, match=r"write 127\.0\.0\.1:8080"):
        parse_address(text)


def test_an_address_is_printed_as_it_is_typed() -> None:
    assert str(Address("::1", 80)) == "[::1]:80"
    assert str(Address("localhost", 80)) == "localhost:80"
    assert str(Address("", 80)) == "*:80"
    assert str(UnixAddress("/run/m")) == "unix:///run/m"


@pytest.mark.parametrize(
    ("text", "published"),
    [
        ("8080", Published(Address("127.0.0.1", 8080))),
        ("blog=127.0.0.1:8080", Published(Address("127.0.0.1", 8080), "blog")),
        ("blog=[::1]:0", Published(Address("::1", 0), "blog")),
        ("ssh=:2222", Published(Address("", 2222), "ssh")),
        ("unix:///run/a=b", Published(UnixAddress("/run/a=b"))),
        ("db=unix:///run/a=b", Published(UnixAddress("/run/a=b"), "db")),
    ],
)
def test_what_is_published_may_have_a_name(text: str, published: Published) -> None:
    assert parse_published(text) == published


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("Blog=8080", "is not a name"),
        ("=8080", "is not a name"),
        ("blog=", "is not an address.* unix:///path"),
        ("blog=:127.0.0.1:80", "is not an address"),
        ("blog=:99999", "is not an address"),
        ("unix://", "write 127.0.0.1:8080"),
        ("blog=unix://", "write 127.0.0.1:8080"),
        ("https://", "write 127.0.0.1:8080"),
        ("blog=tls://:http", "write 127.0.0.1:8080"),
        ("https://tls://8080", "is not an address"),
        ("blog=tcp://127.0.0.1:1", "is not an address"),
        ("blog=tls://127.0.0.1", "is not an address"),
        ("tls://unix:///tmp/door", "needs no TLS"),
    ],
)
def test_what_cannot_be_published_is_refused_with_all_that_was_written(
    text: str, hint: str
) -> None:
    with pytest.raises(ValueError, match=hint) as refused:
        parse_published(text)
    assert repr(text) in str(refused.value) or "is not a name" in str(refused.value)


def test_a_link_is_a_rate_and_a_round_trip() -> None:
    assert parse_link("50mbit/40ms") == EmulatedLink(rate=6.25e6, delay=0.02)
    assert parse_link("1Gbit/1ms") == EmulatedLink(rate=1.25e8, delay=0.0005)
    assert parse_link("none") is None


@pytest.mark.parametrize("text", ["50mbit", "fast/40ms", "0mbit/40ms", "50mbit/", "50mbit/soon"])
def test_what_is_no_link_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a (link|duration)"):
        parse_link(text)


@pytest.mark.parametrize("scheme", ["tls://", "https://"])
def test_a_door_may_speak_tls(scheme: str) -> None:
    assert parse_door(f"{scheme}:8443") == Address("", 8443, tls=True)
    assert parse_published(f"blog={scheme}[::1]:8443") == Published(
        Address("::1", 8443, tls=True), "blog"
    )
    assert parse_door("8443") == Address("127.0.0.1", 8443)
    assert str(parse_door(f"{scheme}8443")) == "tls://127.0.0.1:8443"
    assert parse_admin(f"{scheme}9000") == Address("127.0.0.1", 9000, tls=True)
