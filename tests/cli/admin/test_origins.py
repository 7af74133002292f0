"""Who may ask at the admin address: whoever sits at this machine, and no web page."""

from __future__ import annotations

import pytest

from muxado_py.cli.admin.origins import refusal


def head(*lines: str) -> bytes:
    return "\r\n".join(("GET / HTTP/1.1", *lines, "", "")).encode()


HERE = "Host: 127.0.0.1:9000"


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("Host:",),
        (HERE,),
        ("Host: [::1]:9000",),
        ("HOST: LocalHost",),
        ("Host: admin.test:9000",),
        (HERE, "Origin: http://127.0.0.1:9000"),
        (HERE, "Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"),
        (HERE, "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"),
        (
            HERE,
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Mode: navigate",
            "Sec-Fetch-Dest: document",
        ),
    ],
    ids=" ".join,
)
def test_who_sits_at_this_machine_may_ask(lines: tuple[str, ...]) -> None:
    assert refusal(head(*lines), "Admin.test") is None


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (("Host: rebound.example:9000",), "Host"),
        (("Host: localhost.rebound.example",), "Host"),
        (("Host: localhost.",), "Host"),
        (("Host: [rebound.example",), "Host"),
        (("Host: :9000",), "Host"),
        ((HERE, "hOST:rebound.example"), "Host"),
        ((HERE, "Origin: http://rebound.example"), "another origin"),
        ((HERE, "Origin: http://127.0.0.1:8080"), "another origin"),
        ((HERE, "Origin: null"), "another origin"),
        ((HERE, "Origin: http://127.0.0.1:9000", "Origin: http://127.0.0.1:1"), "another origin"),
        ((HERE, "Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors"), "lead here"),
        ((HERE, "Sec-Fetch-Site: cross-site"), "lead here"),
        (
            (
                HERE,
                "Sec-Fetch-Site: cross-site",
                "Sec-Fetch-Mode: navigate",
                "Sec-Fetch-Dest: iframe",
            ),
            "lead here",
        ),
        (
            (
                HERE,
                "Sec-Fetch-Site: none",
                "Sec-Fetch-Site: cross-site",
                "Sec-Fetch-Mode: navigate",
            ),
            "lead here",
        ),
    ],
    ids=lambda it: " ".join(it) if isinstance(it, tuple) else it,
)
def test_no_web_page_may(lines: tuple[str, ...], why: str) -> None:
    assert why in (refusal(head(*lines), "") or "")


def test_where_a_token_is_wanted_it_may_be_called_anything_and_pages_ask_no_more_than_before() -> (
    None
):
    there = "Host: gateway.test:9000"
    assert refusal(head(there), "") is not None
    assert refusal(head(there), None) is None
    assert refusal(head(there, "Origin: https://gateway.test:9000"), None) is None
    assert refusal(head(there, "Origin: https://evil.example"), None) is not None
    assert refusal(head(there, "Sec-Fetch-Site: cross-site"), None) is not None


def test_an_origin_needs_the_host_that_it_is_compared_with() -> None:
    assert refusal(head("Origin: http://127.0.0.1:9000"), "") is not None
