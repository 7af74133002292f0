"""The URLs of proxies, and which one the environment says for which host."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

import muxado_py as muxado
from muxado_py.dialing.proxies import ENVIRONMENT, Proxy, proxy_for


@pytest.fixture(autouse=True)
def without_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    ("url", "written", "username", "password"),
    [
        ("http://proxy.test:3128", "http://proxy.test:3128", "", ""),
        ("http://proxy.test/", "http://proxy.test:80", "", ""),
        ("https://us:p%40%2F@proxy.test", "https://proxy.test:443", "us", "p@/"),
        ("HTTP://us@[::1]:1", "http://[::1]:1", "us", ""),
        ("socks5://us:pw@proxy.test", "socks5://proxy.test:1080", "us", "pw"),
        ("socks5h://proxy.test:9050", "socks5h://proxy.test:9050", "", ""),
    ],
)
def test_a_url_is_read(url: str, written: str, username: str, password: str) -> None:
    proxy = Proxy(url)
    assert (str(proxy), proxy.username, proxy.password) == (written, username, password)
    assert repr(proxy) == f"<Proxy {written}>"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "proxy.test:3128",
        "ftp://us:pa55word@proxy.test",
        "socks4://us:pa55word@proxy.test",
        "http://us:pa55word@",
        "http://us:pa55/word@proxy.test:3128",
        "http://us:pa55?word@proxy.test:3128",
        "http://us:1#pa55word@proxy.test:3128",
        "http://us:pa55 word@proxy.test",
        "http://us:pa55\tword@proxy.test",
        "http://us:pa55\udcffword@proxy.test",
        "http://us:pa55word@proxy.test:port",
        "http://us:pa55word@proxy.test:70000",
        "http://us:pa55word@[proxy.test:1",
        "http://us:pa55word@proxy.test:3128/path",
        "http://u%3As:pa55word@proxy.test",
        "socks5://pa55word@proxy.test",
        "socks5://:pa55word@proxy.test",
        "socks5://us:pa55w%C3%B6rd@proxy.test",
        f"socks5://us:pa55{'x' * 252}@proxy.test",
    ],
)
def test_what_is_none_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="proxy") as info:
        Proxy(url)
    exc: BaseException | None = info.value
    while exc is not None:
        assert "pa55" not in str(exc) or exc.__suppress_context__ is False
        exc = None if exc.__suppress_context__ else exc.__context__
    assert "pa55" not in str(info.value)


@pytest.mark.parametrize("wrong", [5, b"http://proxy.test", True, ("http", "proxy.test")])
def test_what_is_no_text_is_none(wrong: Any) -> None:
    with pytest.raises(TypeError, match="must be a URL"):
        Proxy(wrong)
    with pytest.raises(TypeError, match="proxy must be a URL"):
        muxado.connect_pool("tcp://gateway.test:1", proxy=wrong)


def test_a_context_is_for_tls_to_the_proxy() -> None:
    context = ssl.create_default_context()
    assert Proxy("https://proxy.test", ssl_context=context).ssl_context is context
    with pytest.raises(ValueError, match="needs a https:// proxy"):
        Proxy("http://proxy.test", ssl_context=context)
    wrong: Any = True
    with pytest.raises(TypeError, match=r"must be an ssl\.SSLContext"):
        Proxy("https://proxy.test", ssl_context=wrong)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://us:pw@one.test:1"}, "http://one.test:1"),
        ({"https_proxy": "one.test:1"}, "http://one.test:1"),
        (
            {"HTTPS_PROXY": "http://one.test:1", "https_proxy": "http://two.test:2"},
            "http://two.test:2",
        ),
        (
            {"ALL_PROXY": "socks5://all.test", "HTTPS_PROXY": "http://one.test:1"},
            "http://one.test:1",
        ),
        ({"all_proxy": "socks5://all.test"}, "socks5://all.test:1080"),
        ({"HTTP_PROXY": "http://plain.test:1"}, None),
        ({"HTTPS_PROXY": ""}, None),
    ],
)
def test_which_variable_says_it(
    variables: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = proxy_for("gateway.test", 7000, ENVIRONMENT)
    assert (str(found) if found else None) == expected
    assert proxy_for("gateway.test", 7000, None) is None
    assert str(proxy_for("gateway.test", 7000, "http://own.test:9")) == "http://own.test:9"


@pytest.mark.parametrize(
    ("no_proxy", "without", "through"),
    [
        ("*", ["a.test", "10.0.0.1", "::1"], []),
        ("example.org", ["example.org", "a.example.org", "EXAMPLE.org"], ["notexample.org", "org"]),
        (".example.org", ["example.org", "a.example.org", "a.example.org."], ["notexample.org"]),
        ("example.org", ["example.org.", "a.example.org."], ["notexample.org."]),
        # Neither Python nor curl has a star in a name.
        ("*.example.org", [], ["example.org", "a.example.org"]),
        (".example.org, other.test", ["a.example.org", "other.test"], ["a.org"]),
        ("example.org:7000", ["example.org"], []),
        ("example.org:7001", [], ["example.org"]),
        (
            "10.0.0.0/8,192.168.1.7",
            ["10.1.2.3", "192.168.1.7"],
            ["11.0.0.1", "192.168.1.8", "10.test"],
        ),
        ("fd00::/8,[::1]:7000", ["fd00::1", "::1"], ["fe80::1", "::2"]),
        ("127.0.0.1:7000,127.0.0.2:1", ["127.0.0.1"], ["127.0.0.2"]),
        ("fe80::/10", ["fe80::1%eth0"], []),
        (" , ,", [], ["a.test", "10.0.0.1"]),
    ],
)
def test_which_hosts_need_none(
    no_proxy: str, without: list[str], through: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:1")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert [proxy_for(host, 7000, ENVIRONMENT) for host in without] == [None] * len(without)
    assert all(proxy_for(host, 7000, ENVIRONMENT) for host in through)


def test_a_variable_that_says_no_proxy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "ftp://us:pa55word@proxy.test")
    with pytest.raises(ValueError, match=r"^ALL_PROXY: a proxy must be") as info:
        muxado.connect_pool("tcp://gateway.test:1", proxy="environment")
    assert "pa55" not in str(info.value)
