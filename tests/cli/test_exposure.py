"""Nothing listens for the network that does not ask who comes, unless that was said."""

from __future__ import annotations

import logging

import click
import pytest
from click.testing import CliRunner

from muxado_py.cli.commands import muxado as muxado_command
from muxado_py.cli.exposure import check_exposure, is_local


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
    url, what = "tls://0.0.0.0:7000", "becomes an agent"
    with pytest.raises(
        click.UsageError, match=r"whoever reaches tls://0\.0\.0\.0:7000 becomes an agent: "
    ):
        check_exposure(url, what, is_guarded=False, insecure=False)
    with caplog.at_level(logging.WARNING, "muxado.cli"):
        check_exposure(url, what, is_guarded=True, insecure=False)
        check_exposure("tcp://127.0.0.1:7000", what, is_guarded=False, insecure=False)
        assert not caplog.messages
        check_exposure(url, what, is_guarded=False, insecure=True)
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
    assert f"whoever reaches {url} {what}: ask for certificates" in " ".join(result.stderr.split())


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
