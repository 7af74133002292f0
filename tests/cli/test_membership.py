"""What is said of other gateways on the command line, and what does not go together."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from muxado_py.cli.commands.membership import MembershipOptions, membership

TOKEN = "muxado_of-all-gateways-of-one-cluster-alone"
HERE = "tcp://127.0.0.1:7000"
ALONE = MembershipOptions(None, None, None, None, None, None)


@pytest.fixture
def among(tmp_path: Path) -> MembershipOptions:
    path = tmp_path / "cluster"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return ALONE._replace(registry="redis://127.0.0.1:6379", token_file=path)


def test_without_a_registry_a_gateway_is_alone() -> None:
    assert membership(ALONE, HERE, "yamux", insecure=False) is None


def test_what_a_gateway_among_others_is_given(among: MembershipOptions) -> None:
    pytest.importorskip("coredis")
    found = membership(among, HERE, "auto", insecure=False)
    assert found is not None
    assert found.token == TOKEN
    assert found.url is None
    assert found.context("tcp://127.0.0.1:1") is None
    assert found.context("tls://127.0.0.1:1") is not None
    elsewhere = among._replace(node_url="unix:///run/gateway", registry="unix:///run/redis")
    found = membership(elsewhere, "tcp://0.0.0.0:7000", "muxado", insecure=False)
    assert found is not None
    assert found.url == "unix:///run/gateway"


@pytest.mark.parametrize(
    "options",
    [
        ALONE._replace(node_url=HERE),
        ALONE._replace(token_file=Path("cluster")),
        ALONE._replace(node_certfile="certificate"),
    ],
)
def test_what_needs_a_registry(options: MembershipOptions) -> None:
    with pytest.raises(click.UsageError, match="need --registry"):
        membership(options, HERE, "muxado", insecure=True)


@pytest.mark.parametrize(
    ("change", "listen", "wire", "said"),
    [
        ({"token_file": None}, HERE, "muxado", "needs --cluster-token-file"),
        ({"token_file": Path("/nowhere")}, HERE, "muxado", "cannot read"),
        ({}, HERE, "yamux", "--wire muxado or auto"),
        ({}, "tcp://0.0.0.0:7000", "muxado", "say --node-url"),
        ({}, "tcp://[::]:7000", "muxado", "say --node-url"),
        ({}, "tcp://192.0.2.1:7000", "muxado", "could read the token"),
        ({"registry": "redis://192.0.2.1"}, HERE, "muxado", "lead callers to themselves"),
        ({"registry": "redis://[2001:db8::1]:1"}, HERE, "muxado", "lead callers to themselves"),
        ({"registry": "http://127.0.0.1"}, HERE, "muxado", "no URL of a Redis server"),
        ({"registry": "redis:"}, HERE, "muxado", "no URL of a Redis server"),
    ],
)
def test_what_does_not_go_together(
    among: MembershipOptions, change: dict[str, object], listen: str, wire: str, said: str
) -> None:
    options = MembershipOptions(**{**among._asdict(), **change})
    with pytest.raises(click.UsageError, match=said):
        membership(options, listen, wire, insecure=False)


def test_a_token_that_could_be_guessed_is_refused(among: MembershipOptions) -> None:
    assert among.token_file is not None
    among.token_file.write_text("secret")
    with pytest.raises(click.UsageError, match="guessed"):
        membership(among, HERE, "muxado", insecure=False)


@pytest.mark.parametrize("registry", ["rediss://192.0.2.1", "redis://:word@192.0.2.1:1/2"])
def test_a_server_of_the_network(among: MembershipOptions, registry: str) -> None:
    pytest.importorskip("coredis")
    insecure = registry.startswith("redis:")
    assert membership(among._replace(registry=registry), HERE, "muxado", insecure=insecure)
