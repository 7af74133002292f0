"""Who may ask at the admin address, where that wants a token: by its field alone, over TLS where the network is."""

from __future__ import annotations

import signal
import ssl
import urllib.error
import urllib.request
from base64 import b64encode
from typing import TYPE_CHECKING

import anyio
import pytest
from click.testing import CliRunner

from muxado_py.cli.admin.admin import Answer, open_admin
from muxado_py.cli.admin.keyholders import Keyholders
from muxado_py.cli.commands import muxado as muxado_command
from muxado_py.cli.options import UnixAddress
from muxado_py.cli.trust.certs import Wanted, make_certificates
from muxado_py.cli.trust.deciding_files import TokenFileError
from muxado_py.cli.trust.tokens import add_line, hash_token, make_token, parse_line

from ..processes import running
from .test_admin import say

if TYPE_CHECKING:
    from pathlib import Path


def add(path: Path, name: str) -> str:
    token = make_token()
    add_line(path, parse_line(name, hash_token(token), "*"))
    return token


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def ask(*fields: str, path: str = "/status") -> bytes:
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: gateway.test", *fields, "", "")).encode()


def test_a_token_is_shown_as_a_bearers_or_as_a_password(tmp_path: Path) -> None:
    tokens = [add(tmp_path / "tokens", name) for name in ("prometheus", "anna")]
    keyholders = Keyholders(tmp_path / "tokens")
    for token in tokens:
        for shown in (
            f"Bearer {token}",
            f"bearer  {token} ",
            basic("", token),
            basic("anna", token),
        ):
            assert keyholders.has(ask("Accept: */*", f"authorization:{shown}"))


@pytest.mark.parametrize(
    "shown",
    [
        "",
        "Bearer",
        "Bearer {other}",
        "Bearer {token}x",
        "Token {token}",
        "{token}",
        "Basic {token}",
        "Basic bm8gY29sb24=",
        "Basic \u00ff",
        "Digest username={token}",
    ],
)
def test_nothing_else_shows_one(tmp_path: Path, shown: str) -> None:
    token = add(tmp_path / "tokens", "anna")
    keyholders = Keyholders(tmp_path / "tokens")
    field = "Authorization: " + shown.format(token=token, other=make_token())
    head = ask(field).decode().encode("latin-1")
    assert not keyholders.has(head)
    assert not keyholders.has(ask(basic(token, "anna")))
    assert not keyholders.has(ask(f"Authorization: {basic(token, '')}"))
    assert not keyholders.has(ask(f"X-Authorization: Bearer {token}"))
    assert not keyholders.has(ask(path=f"/status?Authorization:Bearer%20{token}"))
    both = (f"Authorization: Bearer {token}", f"Authorization: Bearer {make_token()}")
    assert not keyholders.has(ask(*both))
    assert not keyholders.has(ask(*both[::-1]))


@pytest.mark.anyio
async def test_who_shows_none_is_asked_for_one_and_told_nothing_else(tmp_path: Path) -> None:
    address = UnixAddress(f"{tmp_path}/admin")
    old = add(tmp_path / "tokens", "anna")
    keyholders = Keyholders(tmp_path / "tokens")
    answers = {path: lambda asked: Answer(200, b"secret") for path in ("/", "/status", "/healthz")}
    admin = await open_admin(address, answers, keyholders)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(admin.serve, tasks)
        for path in ("/", "/status", "/nothing", "/healthz/", "//healthz", "/healthz/../status"):
            said = await say(address, ask(path=path))
            assert said.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
            assert b"\r\nWWW-Authenticate: Bearer\r\nWWW-Authenticate: Basic realm=" in said
            assert b"secret" not in said
        assert b" 200 " in await say(address, ask(path="/healthz"))  # a balancer has none
        assert b" 200 " in await say(address, ask(f"Authorization: Bearer {old}"))
        assert b" 404 " in await say(address, ask(f"Authorization: Bearer {old}", path="/nothing"))
        (tmp_path / "tokens").unlink()
        new = add(tmp_path / "tokens", "anna")
        keyholders.reload()
        assert b" 401 " in await say(address, ask(f"Authorization: Bearer {old}"))
        assert b" 200 " in await say(address, ask(f"Authorization: Bearer {new}"))
        await admin.aclose()
        tasks.cancel_scope.cancel()


def test_a_file_that_cannot_be_used_opens_nothing(tmp_path: Path) -> None:
    add(tmp_path / "tokens", "anna")
    keyholders = Keyholders(tmp_path / "tokens")
    with pytest.raises(TokenFileError):
        Keyholders(tmp_path / "none")
    (tmp_path / "tokens").write_text("anna:secret:*")
    with pytest.raises(TokenFileError):
        keyholders.reload()


@pytest.mark.parametrize(
    ("admin", "with_token"),
    [("0.0.0.0:0", False), ("0.0.0.0:0", True), ("https://0.0.0.0:0", False)],
)
def test_on_the_network_it_needs_tls_and_a_token(
    tmp_path: Path, admin: str, *, with_token: bool
) -> None:
    add(tmp_path / "tokens", "anna")
    token = ("--admin-token-file", str(tmp_path / "tokens")) if with_token else ()
    gateway = ("gateway", "--listen", "tcp://127.0.0.1:0", "--publish", "0", "--admin", admin)
    result = CliRunner().invoke(muxado_command, [*gateway, *token])
    assert result.exit_code == 2, result.output
    hint = "https:// before it and --admin-token-file"
    assert hint in " ".join(result.stderr.split())


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
def test_a_gateway_is_asked_over_the_network_by_who_has_a_token(tmp_path: Path, loop: str) -> None:
    keys = tmp_path / "keys"
    make_certificates(keys, Wanted(("127.0.0.1",)))
    token = add(tmp_path / "tokens", "anna")
    certificate = (str(keys / "gateway.pem"), str(keys / "gateway.key"))
    with running(
        *("gateway", "--listen", "tcp://127.0.0.1:0", "--publish", "0", "--loop", loop),
        *("--admin", "https://0.0.0.0:0", "--admin-token-file", str(tmp_path / "tokens")),
        *("--door-certfile", certificate[0], "--door-keyfile", certificate[1]),
    ) as gateway:
        port = gateway.wait_for(r"see how it is at https://0.0.0.0:(\d+)/")
        trusting = ssl.create_default_context(cafile=str(keys / "ca.pem"))

        def get(shown: str) -> int:
            request = urllib.request.Request(f"https://127.0.0.1:{port}/status")
            request.add_header("Authorization", shown)
            try:
                with urllib.request.urlopen(request, timeout=30, context=trusting) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as exc:
                return exc.code

        assert [get("Bearer x"), get(f"Bearer {token}"), get(basic("anna", token))] == [
            401,
            200,
            200,
        ]
        (tmp_path / "tokens").write_text("")
        gateway.send(signal.SIGHUP)
        gateway.wait_for("the tokens of --admin are read again")
        gateway.wait_for("the certificates of the doors are read again")
        assert get(f"Bearer {token}") == 401
