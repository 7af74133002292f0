"""Who may serve what: by the token that is shown, and by nothing else that an agent says."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from muxado_py.cli.agents.agent import Agent
from muxado_py.cli.agents.guard import Guard
from muxado_py.cli.agents.registration import MAX_LINE, Hop, Registration, line
from muxado_py.cli.commands import muxado as muxado_command
from muxado_py.cli.trust.certified import Certified
from muxado_py.cli.trust.certs import Wanted, make_certificates
from muxado_py.cli.trust.deciding_files import TokenFileError
from muxado_py.cli.trust.names import MAX_NAMES
from muxado_py.cli.trust.permits import Permit
from muxado_py.cli.trust.revoked import serial_line
from muxado_py.cli.trust.tokens import add_line, hash_token, make_token, parse_line

from ..processes import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ..processes import Running

APP = "tests.cli.apps:starlette_app"


class Session:
    """One of which nothing is asked but who is at its other end."""

    extra_attributes: dict[Any, Any] = {}  # noqa: RUF012


def agent() -> Agent:
    session: Any = Session()
    return Agent(session)


def add(path: Path, name: str, patterns: str) -> str:
    """A token of a file."""
    token = make_token()
    add_line(path, parse_line(name, hash_token(token), patterns))
    return token


@pytest.mark.parametrize(
    ("patterns", "names", "refusal"),
    [
        ("blog", ("blog",), None),
        ("blog", ("blog", "shop", "ssh"), "the token laptop is for blog and not for shop, ssh"),
        ("blog-*,shop", ("blog-1", "shop"), None),
        ("blog-*,shop", ("blog",), "the token laptop is for blog-*, shop and not for blog"),
        (
            "blog",
            (),
            "the token laptop is for blog and not for doors without a name (muxado serve --name)",
        ),
        ("*", (), None),
        ("*", ("blog",), None),
        (
            "*,mail",
            ("www", "blog", "mail", "mta-sts"),
            "the token laptop is for *, mail and not for www, mta-sts: it must list a reserved name itself",
        ),
        (
            "w*",
            ("www",),
            "the token laptop is for w* and not for www: it must list a reserved name itself",
        ),
        ("www", ("www",), None),
        ("blog", ("www",), "the token laptop is for blog and not for www"),
    ],
)
def test_a_token_is_for_its_names(
    tmp_path: Path, patterns: str, names: tuple[str, ...], refusal: str | None
) -> None:
    token = add(tmp_path / "tokens", "laptop", patterns)
    judged = agent()
    guard = Guard(tmp_path / "tokens")
    assert guard.may_register(judged, Registration(names, token=token)) == refusal
    assert judged.peer == ("laptop@(unnamed)" if refusal is None else "(unnamed)")


@pytest.mark.parametrize("shown", [None, "", "muxado_" + "x" * 43, "laptop", "*"])
def test_without_a_token_of_the_file_nothing_is_served(tmp_path: Path, shown: str | None) -> None:
    add(tmp_path / "tokens", "laptop", "*")
    refusal = Guard(tmp_path / "tokens").may_register(agent(), Registration(("blog",), token=shown))
    assert refusal is not None
    assert ("wants a token" in refusal) is (shown is None)
    assert not shown or shown not in refusal


def certified(*patterns: str) -> Agent:
    judged = agent()
    judged.certificate = Certified(Permit("laptop", patterns), 7)
    return judged


@pytest.mark.parametrize(
    ("patterns", "names", "refusal"),
    [
        (("blog", "shop-*"), ("blog", "shop-1"), None),
        (("blog",), ("blog", "ssh"), "the certificate laptop is for blog and not for ssh"),
        (
            ("blog",),
            (),
            "the certificate laptop is for blog and not for doors without a name (muxado serve --name)",
        ),
        (("*",), (), None),
        (
            ("*",),
            ("www",),
            "the certificate laptop is for * and not for www: it must list a reserved name itself",
        ),
        (("*", "www"), ("www", "blog"), None),
        (
            (),
            ("blog",),
            "the certificate laptop has no names (muxado certs --names), and is not for blog",
        ),
    ],
)
def test_a_certificate_is_for_its_names(
    patterns: tuple[str, ...], names: tuple[str, ...], refusal: str | None
) -> None:
    judged = certified(*patterns)
    guard = Guard(by_certificate=True)
    assert guard.may_register(judged, Registration(names)) == refusal
    assert guard.may_stay(judged, Registration(names)) == refusal
    assert Guard().may_register(judged, Registration(names)) is None


def test_a_refusal_goes_into_a_line(tmp_path: Path) -> None:
    """However much a certificate is for, or a token; or it would look like an answer of no gateway."""
    patterns = tuple(f"{number:04}-{'x' * 50}" for number in range(1000))
    token = add(tmp_path / "tokens", "laptop", ",".join(patterns))
    names = tuple(f"{number}-{'y' * 55}" for number in range(MAX_NAMES))
    for guard, shown in ((Guard(tmp_path / "tokens"), token), (Guard(by_certificate=True), None)):
        judged = certified(*patterns)
        refusal = guard.may_register(judged, Registration(names, token=shown))
        assert refusal is not None
        assert " and 984 more and not for 0-yyy" in refusal
        assert len(line(refused=refusal)) <= MAX_LINE


def test_another_gateway_needs_no_token_of_an_agents_and_may_be_revoked(tmp_path: Path) -> None:
    add(tmp_path / "tokens", "laptop", "*")
    (tmp_path / "revoked").write_text(serial_line(8))
    guard = Guard(tmp_path / "tokens", by_certificate=True, revoked_file=tmp_path / "revoked")
    other = certified()
    other.hop = Hop("other", "token")
    assert guard.may_hop(other) is None
    assert guard.may_stay(other, Registration()) is None
    (tmp_path / "revoked").write_text(serial_line(7))
    guard.reload()
    assert guard.may_hop(other) == "the certificate laptop is revoked"
    assert guard.may_stay(other, Registration()) == "the certificate laptop is revoked"


def test_where_certificates_are_asked_for_nobody_goes_without() -> None:
    assert Guard(by_certificate=True).may_register(agent(), Registration()) is not None


def test_who_shows_both_serves_what_both_are_for(tmp_path: Path) -> None:
    token = add(tmp_path / "tokens", "blogger", "blog,shop")
    guard = Guard(tmp_path / "tokens", by_certificate=True)
    for name, refusal in (
        ("blog", None),
        ("shop", "the certificate laptop is for blog, ssh and not for shop"),
        ("ssh", "the token blogger is for blog, shop and not for ssh"),
    ):
        judged = certified("blog", "ssh")
        assert guard.may_register(judged, Registration((name,), token=token)) == refusal
        assert "wants a token" in (guard.may_register(judged, Registration((name,))) or "")


def test_a_file_with_nobody_in_it_lets_nobody_in(tmp_path: Path) -> None:
    (tmp_path / "tokens").touch(0o600)
    guard = Guard(tmp_path / "tokens")
    assert guard.may_register(agent(), Registration(token=make_token())) is not None


def test_a_file_that_cannot_be_used_is_no_guard(tmp_path: Path) -> None:
    with pytest.raises(TokenFileError):
        Guard(tmp_path / "tokens")
    arguments = ["gateway", "--listen", "tcp://127.0.0.1:0", "--publish", "127.0.0.1:0"]
    result = CliRunner().invoke(
        muxado_command, [*arguments, "--token-file", str(tmp_path / "tokens")]
    )
    assert result.exit_code == 2
    assert "No such file" in result.stderr


def test_a_registration_shows_its_token_to_nobody() -> None:
    assert "secret" not in repr(Registration(("blog",), token="secret"))
    assert "blog" in repr(Registration(("blog",), token="secret"))


@contextmanager
def gateway(*options: str) -> Iterator[tuple[Running, str]]:
    doors = ("--publish", "blog=127.0.0.1:0", "--publish", "127.0.0.1:0")
    with running("gateway", *doors, *options) as process:
        yield process, process.wait_for(r"agents connect to (\S+)")


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
def test_each_way_to_show_a_token_works_and_none_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loop: str
) -> None:
    """As documented: by file, by the variable of the option, and by the token's own."""
    path = tmp_path / "tokens"
    tokens = {name: add(path, name, patterns) for name, patterns in (("a", "blog"), ("b", "*"))}
    stranger = make_token()
    for name, token in {**tokens, "stranger": stranger}.items():
        (tmp_path / name).write_text(f"{token}\n")
        (tmp_path / name).chmod(0o600)
    monkeypatch.setenv("MUXADO_GATEWAY_TOKEN_FILE", str(path))
    listen = ("--listen", "tcp://127.0.0.1:0", "--log-level", "debug", "--loop", loop)
    with gateway(*listen) as (process, url):
        serve = ("serve", APP, "--connect", url, "--log-level", "debug", "--loop", loop)
        said = []
        with running(*serve, "--name", "blog", "--token-file", str(tmp_path / "a")) as agent:
            process.wait_for(r"agent (a@\S+) serves blog")
            agent.wait_for("serving as (blog)")
            agent.end(signal.SIGTERM)
            said.append(agent.said())
        monkeypatch.setenv("MUXADO_SERVE_TOKEN_FILE", str(tmp_path / "b"))
        with running(*serve) as agent:
            process.wait_for(r"agent (b@\S+) serves doors without a name")
            said.append("")
        monkeypatch.delenv("MUXADO_SERVE_TOKEN_FILE")
        for token, why in (
            (tokens["a"], "the token a is for blog and not for shop"),
            (stranger, "the token that it shows is not known here"),
            ("", "this gateway wants a token"),
        ):
            monkeypatch.setenv("MUXADO_TOKEN", token)
            with running(*serve, "--name", "shop", "--max-retries", "0") as agent:
                assert agent.wait() in (3, 4)
                agent.wait_for(f"it refused: ({why})")
                process.wait_for(f"is refused: ({why})")
                said.append(agent.said())
        process.end()
        said.append(process.said())
    for token in (*tokens.values(), stranger):
        assert token not in "".join(said)


@pytest.mark.slow
def test_certificates_and_tokens_together(tmp_path: Path) -> None:
    """Both are asked for, and the log has the name of the certificate until it has the token's."""
    make_certificates(tmp_path / "keys", Wanted(agents=("laptop",)))
    (tmp_path / "token").write_text(add(tmp_path / "tokens", "blogger", "blog"))

    def files(name: str) -> tuple[str, ...]:
        return (
            *("--ssl-certfile", str(tmp_path / "keys" / f"{name}.pem")),
            *("--ssl-keyfile", str(tmp_path / "keys" / f"{name}.key")),
        )

    trust = ("--ssl-ca-certs", str(tmp_path / "keys" / "ca.pem"))
    tokens = ("--token-file", str(tmp_path / "tokens"))
    with gateway("--listen", "tls://127.0.0.1:0", *files("gateway"), *trust, *tokens) as (
        process,
        url,
    ):
        serve = ("serve", APP, "--connect", url, "--name", "blog", *trust)
        token = ("--token-file", str(tmp_path / "token"))
        with running(*serve, *files("laptop"), *token):
            process.wait_for(r"agent (blogger@127\.0\.0\.1:\d+) serves blog")
        with running(*serve, *files("laptop"), "--max-retries", "0") as agent:
            agent.wait_for("it refused: (this gateway wants a token)")
            process.wait_for(r"agent (laptop@127\.0\.0\.1:\d+) is refused")
        with running(*serve, *token) as agent:
            agent.wait_for("does not let this side in: (certificate required)")


def test_a_token_is_not_for_a_side_that_listens(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(make_token())
    arguments = ["serve", APP, "--listen", "tcp://127.0.0.1:0", "--token-file"]
    result = CliRunner().invoke(muxado_command, [*arguments, str(tmp_path / "token")])
    assert result.exit_code == 2
    assert "--token-file needs --connect" in result.stderr


@pytest.mark.parametrize("file", ["", "a b", f"laptop:{hash_token(chr(120) * 43)}:*"])
def test_what_is_no_token_is_not_shown(tmp_path: Path, file: str) -> None:
    (tmp_path / "token").write_text(file)
    arguments = ["serve", APP, "--connect", "tcp://127.0.0.1:1", "--token-file"]
    result = CliRunner().invoke(muxado_command, [*arguments, str(tmp_path / "token")])
    assert result.exit_code == 2
    assert (
        "a token, and nothing else" in " ".join(result.stderr.split())
        or "its token" in result.stderr
    )


@pytest.mark.parametrize("variable", ["MUXADO_TOKEN", "MUXADO_SERVE_TOKEN_FILE"])
def test_a_token_goes_over_no_network_that_reads_it(tmp_path: Path, variable: str) -> None:
    token = make_token()
    (tmp_path / "token").write_text(token)
    (tmp_path / "token").chmod(0o600)
    value = token if variable == "MUXADO_TOKEN" else str(tmp_path / "token")
    arguments = ["serve", APP, "--connect", "tcp://gateway.example:7000"]
    result = CliRunner().invoke(muxado_command, arguments, env={variable: value})
    assert result.exit_code == 2
    assert "could read the token: dial tls://, or say --insecure" in " ".join(result.stderr.split())
    assert token not in result.stderr


@pytest.mark.slow
def test_no_pattern_is_for_a_name_that_the_gateway_reserves(tmp_path: Path) -> None:
    """Its own are reserved with those that it is told of, and who lists one has it all the same."""
    shown = {
        "any": add(tmp_path / "tokens", "any", "*"),
        "one": add(tmp_path / "tokens", "one", "shop"),
    }
    for holder, token in shown.items():
        (tmp_path / holder).write_text(token)
        (tmp_path / holder).chmod(0o600)
    files = ("--token-file", str(tmp_path / "tokens"), "--reserve", "shop")
    with running(
        "gateway", "--listen", "tcp://127.0.0.1:0", "--publish", "shop=0", *files
    ) as gateway:
        url = gateway.wait_for(r"agents connect to (\S+)")
        serve = ("serve", APP, "--connect", url, "--token-file")
        for name in ("shop", "admin"):
            with running(*serve, str(tmp_path / "any"), "--name", name) as refused:
                refused.wait_for(f"for [*] and not for {name}: it must list a reserved name itself")
        with running(*serve, str(tmp_path / "one"), "--name", "shop"):
            gateway.wait_for("agent one@.* serves shop")
