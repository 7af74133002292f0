"""Nothing listens for the network that does not ask who comes, unless that was said."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from muxado_py.cli.commands import muxado as muxado_command
from muxado_py.cli.trust.certs import Wanted, make_certificates
from muxado_py.cli.trust.exposure import check_exposure, check_secrecy, is_local
from muxado_py.cli.trust.tokens import make_token

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("unix:///run/muxado", True),
        ("tcp://127.0.0.1:7000", True),
        ("tcp://127.1.2.3:7000", True),
        ("tcp://localhost:7000", True),
        ("tls://LocalHost.:7000", True),
        ("tcp://app.localhost:7000", True),
        ("tcp://[::1]:7000", True),
        ("tcp://[::ffff:127.0.0.1]:7000", True),
        ("tcp://0.0.0.0:7000", False),
        ("tcp://[::]:7000", False),
        ("tcp://[::ffff:0.0.0.0]:7000", False),
        ("tcp://[fe80::1%eth0]:7000", False),
        ("tcp://192.0.2.1:7000", False),
        ("tcp://localhost.example:7000", False),
        ("tcp://notlocalhost:7000", False),
        ("tls://gateway.example:7000", False),
    ],
)
def test_what_is_not_known_to_be_this_machine_is_the_network(url: str, local: bool) -> None:
    assert is_local(url) is local


def test_the_network_needs_a_guard_or_a_word(caplog: pytest.LogCaptureFixture) -> None:
    url, what, how = "tls://0.0.0.0:7000", "becomes an agent", "ask for a token"
    with pytest.raises(
        click.UsageError,
        match=r"whoever reaches tls://0\.0\.0\.0:7000 becomes an agent: ask for a token, or ",
    ):
        check_exposure(url, what, how, is_guarded=False, insecure=False)
    with caplog.at_level(logging.WARNING, "muxado.cli"):
        check_exposure(url, what, how, is_guarded=True, insecure=False)
        check_exposure("tcp://127.0.0.1:7000", what, how, is_guarded=False, insecure=False)
        assert not caplog.messages
        check_exposure(url, what, how, is_guarded=False, insecure=True)
    assert caplog.messages == ["whoever reaches tls://0.0.0.0:7000 becomes an agent (--insecure)"]


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (("gateway", "--publish", "127.0.0.1:0"), "becomes an agent"),
        (("serve", "tests.cli.apps:starlette_app"), "may call the application"),
    ],
)
@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.1"])
def test_no_command_is_open_by_accident(command: tuple[str, ...], what: str, host: str) -> None:
    url = f"tcp://{host}:0"
    result = CliRunner().invoke(muxado_command, [*command, "--listen", url])
    assert result.exit_code == 2
    assert f"whoever reaches {url} {what}: listen on tls:// and ask for " in " ".join(
        result.stderr.split()
    )


@pytest.mark.parametrize(
    "command",
    [("gateway", "--publish", "127.0.0.1:0"), ("serve", "tests.cli.apps:starlette_app")],
)
def test_what_was_said_goes_on(command: tuple[str, ...]) -> None:
    """As far as an address that is nobody's here."""
    url = "tcp://192.0.2.1:0"
    result = CliRunner().invoke(muxado_command, [*command, "--listen", url, "--insecure"])
    assert result.exit_code == 3
    assert f"cannot listen on {url}" in result.stderr


def test_tokens_are_no_guard_without_tls(tmp_path: Path) -> None:
    (tmp_path / "tokens").touch(0o600)
    arguments = ("gateway", "--publish", "127.0.0.1:0", "--token-file", str(tmp_path / "tokens"))
    for url, code in (("tcp://192.0.2.1:0", 2), ("tls://192.0.2.1:0", 3)):
        keys = make_certificates(tmp_path / url[:3], Wanted())
        files = ("--ssl-certfile", str(keys[1].path), "--ssl-keyfile", str(keys[1].key))
        more = files if code == 3 else ()
        result = CliRunner().invoke(muxado_command, [*arguments, "--listen", url, *more])
        assert result.exit_code == code, result.output
        assert ("becomes an agent" in result.stderr) is (code == 2)


def test_a_token_is_shown_to_the_network_over_tls_or_with_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for url in ("tls://gateway.example:7000", "tcp://127.0.0.1:7000", "unix:///run/muxado"):
        check_secrecy(url, insecure=False)
    assert not caplog.messages
    with pytest.raises(click.UsageError, match="could read the token: dial tls://"):
        check_secrecy("tcp://gateway.example:7000", insecure=False)
    check_secrecy("tcp://gateway.example:7000", insecure=True)
    assert "can read the token (--insecure)" in caplog.text


@pytest.mark.parametrize("command", ["serve", "forward"])
@pytest.mark.parametrize("proxy", ["http://127.0.0.1:1", "socks5://proxy.example", "environment"])
def test_this_machine_of_a_proxy_is_another(
    command: str, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("MUXADO_TOKEN", make_token())
    what = ["tcp://127.0.0.1:9"] if command == "serve" else ["--name", "db", "127.0.0.1:0"]
    for url in ("tcp://localhost:1", "ws://127.0.0.1:1/tunnel"):
        arguments = [command, *what, "--connect", url, "--proxy", proxy, "--max-retries", "0"]
        result = CliRunner().invoke(muxado_command, arguments)
        assert result.exit_code == 2, result.output
        assert "could read the token" in " ".join(result.stderr.split())
    check_secrecy("unix:///run/muxado", proxy=proxy, insecure=False)
    check_secrecy("tls://localhost:1", proxy=proxy, insecure=False)
    monkeypatch.setenv("NO_PROXY", "localhost")
    check_secrecy("tcp://localhost:1", proxy="environment", insecure=False)
