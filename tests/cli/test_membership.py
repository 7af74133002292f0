"""What is said of other gateways on the command line, and what does not go together."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from muxado_py.cli.commands.membership import MembershipOptions, membership
from muxado_py.cli.trust.deciding_files import TokenFileError
from muxado_py.cli.trust.tokens import hash_token, parse_line

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
    assert found.tokens.shown == TOKEN
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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("secret", "token 1: .*guessed"),
        (f"{TOKEN}\nsecret\n", "token 2: .*guessed"),
        ("\n", "a token in each line"),
        (f"laptop:{hash_token(TOKEN)}:*\n", "has hashes"),
    ],
)
def test_a_file_with_something_else_than_tokens_is_refused(
    among: MembershipOptions, text: str, said: str
) -> None:
    assert among.token_file is not None
    among.token_file.write_text(text)
    with pytest.raises(click.UsageError, match=said):
        membership(among, HERE, "muxado", insecure=False)


def test_a_file_that_everybody_may_write_is_refused(among: MembershipOptions) -> None:
    assert among.token_file is not None
    among.token_file.chmod(0o666)
    with pytest.raises(click.UsageError, match="written by everybody"):
        membership(among, HERE, "muxado", insecure=False)


def test_of_several_tokens_the_first_is_shown_each_is_taken_and_a_slip_leaves_what_was(
    among: MembershipOptions,
) -> None:
    pytest.importorskip("coredis")
    assert among.token_file is not None
    hashed = parse_line("agent", hash_token(TOKEN), "*")  # as muxado token prints it, too
    among.token_file.write_text(f"{TOKEN}\n{hashed}\n{TOKEN}-old\n")
    found = membership(among, HERE, "muxado", insecure=False)
    assert found is not None
    tokens = found.tokens
    assert tokens.shown == TOKEN
    assert [tokens.has(one) for one in (TOKEN, f"{TOKEN}-old", f"{TOKEN}-new", "", "\ud800")] == [
        *(True, True, False, False, False)
    ]
    among.token_file.write_text("slip")
    with pytest.raises(TokenFileError):
        tokens.read()
    assert tokens.shown == TOKEN
    among.token_file.write_text(f"{TOKEN}-new\n")
    tokens.read()
    assert tokens.shown == f"{TOKEN}-new"
    assert not tokens.has(TOKEN)


def test_no_gateway_is_shown_the_token_where_others_read_it(among: MembershipOptions) -> None:
    """Whoever writes to the registry says where it is; it may say tcp:// of one that is at tls://."""
    pytest.importorskip("coredis")
    found = membership(among, HERE, "muxado", insecure=False)
    assert found is not None
    with pytest.raises(click.UsageError, match="could read the token"):
        found.context("tcp://192.0.2.1:7000")
    found = membership(among, HERE, "muxado", insecure=True)
    assert found is not None
    assert found.context("tcp://192.0.2.1:7000") is None


@pytest.mark.parametrize("registry", ["rediss://192.0.2.1", "redis://:word@192.0.2.1:1/2"])
def test_a_server_of_the_network(among: MembershipOptions, registry: str) -> None:
    pytest.importorskip("coredis")
    insecure = registry.startswith("redis:")
    assert membership(among._replace(registry=registry), HERE, "muxado", insecure=insecure)
