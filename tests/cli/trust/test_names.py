"""What a name may be."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxado_py.cli.trust.names import (
    MAX_NAMES,
    RESERVED,
    check_domain,
    check_name,
    check_names,
    own_names,
)


@pytest.mark.parametrize("text", ["blog", "a", "0", "my-app-2", "a" * 63, "xn--bcher-kva"])
def test_a_label_of_a_host_name_is_one(text: str) -> None:
    assert check_name(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "Blog", "-a", "a-", "a.b", "a_b", "a b", "a\n", "a" * 64, "b\u00fccher", "a=b", "\u0661"],
)
def test_nothing_else_is(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a name: write up to 63 of a-z, 0-9 and -"):
        check_name(text)


def test_what_is_none_is_shown_in_part() -> None:
    with pytest.raises(ValueError, match="is not a name") as refused:
        check_name("X" * 1_000_000)
    assert len(str(refused.value)) < 200  # it goes into a log


@pytest.mark.slow
@given(st.text())
def test_what_is_taken_is_such_a_label(text: str) -> None:
    try:
        check_name(text)
    except ValueError:
        pass
    else:
        assert re.fullmatch(r"[a-z0-9-]{1,63}", text, re.ASCII)


def test_a_name_counts_once_and_there_is_an_end() -> None:
    assert check_names(["b", "a", "b"]) == ("b", "a")
    names = [f"n{number}" for number in range(MAX_NAMES + 1)]
    assert len(check_names(names[1:])) == MAX_NAMES
    with pytest.raises(ValueError, match="at most 64 names, not 65"):
        check_names(names)


def test_a_domain_is_labels_in_lower_case() -> None:
    assert check_domain("Example.ORG") == "example.org"
    assert check_domain("localhost") == "localhost"
    for text in ("", ".", "a..b", ".a", "a.", "*.a", "a_b.c", "a:80"):
        with pytest.raises(ValueError, match=r"is not a domain: write example\.org"):
            check_domain(text)


def test_reserved_are_names() -> None:
    assert {"www", "admin", "wpad"} <= RESERVED
    assert all(check_name(name) == name for name in RESERVED)


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("tls://gate.example.org:7000", {"gate"}),
        ("tls://Gate.Example.Org.:7000", {"gate"}),
        ("wss://gate.example.org/agents", {"gate"}),
        ("tls://a.gate.example.org:7000", set()),
        ("tls://example.org:7000", set()),
        ("tls://gate.example.com:7000", set()),
        ("tcp://0.0.0.0:7000", set()),
        ("unix:///run/gate.example.org", set()),
        ("stdio:", set()),
    ],
)
def test_the_gateways_own_host_is_a_name_where_it_is_below_the_domain(
    url: str, names: set[str]
) -> None:
    assert own_names("example.org", [url]) == names
