"""What may be served in the place of an application."""

from __future__ import annotations

import re

import pytest

from muxado_py.cli.serving.ports import LocalPort, parse_port


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("tcp://127.0.0.1:22", LocalPort("tcp", "127.0.0.1", 22)),
        ("tcp://[::1]:22", LocalPort("tcp", "::1", 22)),
        ("http://127.0.0.1:8000/", LocalPort("http", "127.0.0.1", 8000)),
        ("http://localhost", LocalPort("http", "localhost", 80)),
        ("unix:///run/a b", LocalPort("unix", "/run/a b")),
        ("module:app", None),
    ],
)
def test_an_address_is_served_and_a_name_is_an_application(
    text: str, port: LocalPort | None
) -> None:
    assert parse_port(text) == port


@pytest.mark.parametrize(
    "text",
    [
        *(
            "https://127.0.0.1",
            "tls://127.0.0.1:1",
            "ftp://h",
            "tcp://127.0.0.1",
            "http://",
            "unix://",
        ),
        *("http://127.0.0.1/path", "http://u@h", "http://h?q", "http://h:99999", "tcp://h:1/x"),
    ],
)
def test_what_cannot_be_served_is_refused_with_what_could(text: str) -> None:
    with pytest.raises(ValueError, match=r"write tcp://host:port") as refused:
        parse_port(text)
    has_more = re.fullmatch(r"http://(.*@|h[/?]|[0-9.]+/).*", text) is not None
    assert ("has more than an address" in str(refused.value)) is has_more


def test_a_port_is_printed_as_it_is_typed() -> None:
    for text in ("tcp://[::1]:22", "http://localhost:80", "unix:///run/x"):
        assert str(parse_port(text)) == text
