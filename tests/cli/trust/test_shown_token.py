"""The token that an agent shows: that of now, whatever happens to its file, and no other process is started for it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from muxado_py.cli.trust.certs import Wanted, make_certificates
from muxado_py.cli.trust.deciding_files import TokenFileError
from muxado_py.cli.trust.shown_token import ShownToken
from muxado_py.cli.trust.tokens import add_line, hash_token, make_token, parse_line

from ..processes import running

APP = "tests.cli.apps:starlette_app"


def write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)


def test_the_token_of_a_file_is_that_of_now(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "token"
    write(path, "first\n")
    token = ShownToken(path)
    assert token.is_there
    assert token.now() == "first"
    write(path, "second\n")
    assert token.now() == "second"
    assert not caplog.messages
    for text in ("", "a b", None):
        if text is None:
            path.unlink()
        else:
            write(path, text)
        with pytest.raises(TokenFileError):
            token.read()
        assert token.now() == "second"
        assert "the token stays as it was: " in caplog.messages[-1]
        assert "second" not in caplog.text
    write(path, "third\n")
    assert token.now() == "third"


def test_a_file_that_everybody_reads_is_warned_of_once_and_again_after_a_change(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "token"
    write(path, "first\n")
    path.chmod(0o644)
    token = ShownToken(path)
    for _ in range(3):
        assert token.now() == "first"
    assert caplog.text.count("can be read by everybody") == 1
    other = tmp_path / "other"
    write(other, "second\n")
    other.chmod(0o644)
    other.replace(path)
    for _ in range(3):
        assert token.now() == "second"
    assert caplog.text.count("can be read by everybody") == 2
    path.chmod(0o600)
    assert token.now() == "second"
    assert caplog.text.count("can be read by everybody") == 2


def test_what_is_no_file_is_read_once() -> None:
    """A second time it has nothing, or waits for somebody who writes."""
    reading, writing = os.pipe()
    os.write(writing, b"token\n")
    os.close(writing)
    try:
        token = ShownToken(Path(f"/dev/fd/{reading}"))
        assert not token.is_in_file
        token.read()
        assert token.now() == "token"
    finally:
        os.close(reading)
    assert token.now() == "token"


def test_what_the_environment_has_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUXADO_TOKEN", " token ")
    token = ShownToken(None)
    monkeypatch.setenv("MUXADO_TOKEN", "other")
    assert token.now() == "token"
    assert not token.is_in_file
    monkeypatch.setenv("MUXADO_TOKEN", " ")
    assert not ShownToken(None).is_there


def test_a_file_without_a_token_is_none(tmp_path: Path) -> None:
    with pytest.raises(TokenFileError, match="No such file"):
        ShownToken(tmp_path / "token")


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
def test_an_agent_and_a_caller_go_on_with_another_token_and_another_certificate(
    tmp_path: Path, loop: str
) -> None:
    make_certificates(tmp_path, Wanted(agents=("old", "new")))
    for kind in ("pem", "key"):
        (tmp_path / f"mine.{kind}").write_bytes((tmp_path / f"old.{kind}").read_bytes())

    def files(name: str) -> tuple[str, ...]:
        return (
            *("--ssl-certfile", str(tmp_path / f"{name}.pem")),
            *("--ssl-keyfile", str(tmp_path / f"{name}.key")),
            *("--ssl-ca-certs", str(tmp_path / "ca.pem")),
            *("--loop", loop),
        )

    tokens, shown = tmp_path / "tokens", tmp_path / "token"
    first, second = make_token(), make_token()
    add_line(tokens, parse_line("first", hash_token(first), "blog"))
    write(shown, first)
    doors = ("--publish", "blog=127.0.0.1:0", "--allow-forward", "blog", "--token-file")
    with running(
        "gateway", "--listen", "tls://127.0.0.1:0", *doors, str(tokens), *files("gateway")
    ) as gateway:
        url = gateway.wait_for(r"agents connect to (\S+)")
        shows = ("--connect", url, "--name", "blog", "--token-file", str(shown), *files("mine"))
        with (
            running("serve", APP, *shows) as agent,
            running("forward", "127.0.0.1:0", *shows) as caller,
        ):
            gateway.wait_for(r"agent (first@\S+) serves blog")
            gateway.wait_for(r"(first@\S+) calls blog")

            write(shown, "")
            (tmp_path / "mine.key").write_bytes((tmp_path / "new.key").read_bytes())
            for process in (agent, caller):
                process.send(signal.SIGHUP)
                process.wait_for("the tokens (stay as they were: .* must have a token)")
                process.wait_for("the certificates (stay as they were: cannot use)")

            (tmp_path / "mine.pem").write_bytes((tmp_path / "new.pem").read_bytes())
            for process in (agent, caller):
                process.send(signal.SIGHUP)
                process.wait_for("the certificates (are read again)")

            # Whoever exchanges a token lets the gateway know both for a while, or this.
            write(tokens, f"{parse_line('second', hash_token(second), 'blog')}\n")
            gateway.send(signal.SIGHUP)
            agent.wait_for("it refused: (the token that it shows is not known here)")
            gateway.wait_for(r"agent (new@\S+) is refused")
            write(shown, second)
            gateway.wait_for(r"agent (second@\S+) serves blog")
            gateway.wait_for(r"(second@\S+) calls blog")
            for process in (agent, caller, gateway):
                assert process.end() == 0
                assert not {first, second} & set(process.said().split())
