"""Tokens: made, hashed, found again, and what a token file may say."""

from __future__ import annotations

import hashlib
import io
import sys
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from muxado_py.cli.commands import muxado as muxado_command
from muxado_py.cli.trust.deciding_files import TokenFileError
from muxado_py.cli.trust.permits import Bounds, Permit
from muxado_py.cli.trust.tokens import (
    TokenLine,
    add_line,
    hash_token,
    make_token,
    parse_line,
    parse_tokens,
    read_tokens,
)

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "muxado_" + "x" * 43
HASH = "sha256=" + hashlib.sha256(TOKEN.encode()).hexdigest()
OTHER = "sha256=" + "0" * 64


def test_a_token_is_long_and_says_whose_it_is() -> None:
    made = {make_token() for _ in range(100)}
    assert len(made) == 100
    for token in made:
        assert token.startswith("muxado_")
        assert len(token) - len("muxado_") == 43  # 256 bits, six in each


def test_a_token_is_found_by_what_was_hashed() -> None:
    token = make_token()
    lines = [f"other:{OTHER}:*", f"laptop:{hash_token(token)}:blog", f"third:{HASH}:*"]
    tokens = parse_tokens("\n".join(lines), "tokens")
    assert len(tokens) == 3
    found = tokens.find(token)
    assert found is not None
    assert (found.name, found.patterns) == ("laptop", ("blog",))
    assert str(parse_line("laptop", hash_token(token), "blog")) == lines[1]


@pytest.mark.parametrize("shown", ["", TOKEN[:-1], TOKEN + " ", HASH, "\ud800", "\N{SNOWMAN}"])
def test_what_is_no_token_is_not_found(shown: str) -> None:
    assert parse_tokens(f"laptop:{HASH}:*", "tokens").find(shown) is None


def test_comments_blank_lines_and_other_line_ends_are_taken() -> None:
    text = f"# who serves the blog\r\n\r\n  laptop : {HASH} : blog , ssh \r\n#x:y:z"
    assert parse_tokens(text, "tokens").find(TOKEN) == Permit("laptop", ("blog", "ssh"))


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (f"laptop:{HASH}", "2 part(s)"),
        (f"laptop:{HASH}:blog:max_callers=1:ssh", "5 part(s)"),
        (f"laptop:{HASH}:blog:{TOKEN}", "the fourth part is for bounds"),
        (f"laptop:{HASH}:blog:max_callers", "max_callers must be a number"),
        (f"laptop:{HASH}:blog:max_callers=0", "max_callers must be a number, 1 or greater"),
        (f"laptop:{HASH}:blog:max_callers=-1", "max_callers must be a number, 1 or greater"),
        (f"laptop:{HASH}:blog:max_callers=1,max_callers=2", "each once"),
        (TOKEN, "1 part(s)"),
        (f":{HASH}:blog", "the name of a token begins with"),
        (f"lap top:{HASH}:blog", "the name of a token begins with"),
        (f"laptop:{TOKEN}:blog", "muxado token --hash makes it"),
        (f"laptop:{HASH[7:]}:blog", "muxado token --hash makes it"),
        (f"laptop:{HASH}:", "'' is no pattern of names"),
        (f"laptop:{HASH}:blog,,ssh", "'' is no pattern of names"),
        (f"laptop:{HASH}:Blog", "'Blog' is no pattern of names"),
        (f"laptop:{HASH}:blo[gG]", "'blo[gG]' is no pattern of names"),
        (f"laptop:{HASH}:blog.example", "'blog.example' is no pattern of names"),
        (f"laptop:{HASH}:blog?", "'blog?' is no pattern of names"),
        (f"first:{OTHER[:-1]}1:*", "line 1 has the name first already"),
        (f"laptop:{OTHER}:*", "line 1 has the same token"),
    ],
)
def test_a_wrong_line_is_named_by_its_number_and_quotes_no_token(line: str, fault: str) -> None:
    with pytest.raises(TokenFileError) as raised:
        parse_tokens(f"first:{OTHER}:*\n# a comment\n{line}\n", "/etc/tokens")
    said = str(raised.value)
    assert said.startswith("/etc/tokens, line 3: ")
    assert fault in said
    assert TOKEN not in said
    assert HASH[7:] not in said


@pytest.mark.parametrize(
    ("written", "bounds"),
    [
        ("", Bounds()),
        (":", Bounds()),
        (":max_sessions=2", Bounds(2)),
        (":max_callers=50", Bounds(None, 50)),
        (":session_ttl=3600", Bounds(None, None, 3600)),
        (" : max_callers = 50 , max_sessions = 2 ", Bounds(2, 50)),
    ],
)
def test_a_line_says_how_much_there_may_be_at_once(written: str, bounds: Bounds) -> None:
    found = parse_tokens(f"laptop:{HASH}:blog{written}", "tokens").find(TOKEN)
    assert found is not None
    assert found.bounds == bounds
    line = TokenLine(found, HASH)
    assert parse_tokens(str(line), "tokens").find(TOKEN) == found


def test_all_wrong_lines_are_said_at_once() -> None:
    with pytest.raises(TokenFileError) as raised:
        parse_tokens(f"a\nlaptop:{HASH}:*\nb:c", "tokens")
    assert [line.partition(":")[0] for line in str(raised.value).splitlines()] == [
        "tokens, line 1",
        "tokens, line 3",
    ]


def test_what_was_read_does_not_change_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"laptop:{HASH}:blog\n")
    path.chmod(0o600)
    before = read_tokens(path)
    path.write_text(f"\ufefflaptop:{OTHER}:blog\n")  # as editors of Windows begin a file
    after = read_tokens(path)
    assert before.find(TOKEN) is not None
    assert after.find(TOKEN) is None
    assert len(after) == 1


def test_a_line_is_added_to_a_file_of_this_user(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    add_line(path, parse_line("laptop", HASH, "blog"))
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text(path.read_text().rstrip("\n"))  # as some editors leave it
    add_line(path, parse_line("desktop", OTHER, "*"))
    assert path.read_text() == f"laptop:{HASH}:blog\ndesktop:{OTHER}:*\n"
    with pytest.raises(
        TokenFileError, match="line 1 has the name laptop already: each token needs its own"
    ):
        add_line(path, parse_line("laptop", OTHER[:-1] + "1", "*"))
    assert len(read_tokens(path)) == 2


def test_the_command_prints_a_token_and_the_line_that_lets_it_in() -> None:
    result = CliRunner().invoke(
        muxado_command, ["token", "--name", "laptop", "--names", "blog,x-*"]
    )
    assert result.exit_code == 0
    token, line = result.stdout.splitlines()
    found = parse_tokens(line, "stdout").find(token)
    assert found is not None
    assert (found.name, found.patterns) == ("laptop", ("blog", "x-*"))


def test_the_command_hashes_a_token_and_does_not_repeat_it() -> None:
    result = CliRunner().invoke(muxado_command, ["token", "--hash"], input=f"{TOKEN}\n")
    assert result.stdout == f"agent:{HASH}:*\n"
    assert result.stderr == ""


def test_the_command_says_how_much_its_holder_may_have(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    bounds = ["--limit-sessions", "2", "--limit-callers", "50"]
    result = CliRunner().invoke(muxado_command, ["token", *bounds, "--add", str(path)])
    found = read_tokens(path).find(result.stdout.removesuffix("\n"))
    assert found is not None
    assert found.bounds == Bounds(2, 50)


def test_the_command_adds_to_a_file_and_prints_the_token_alone(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    for name in ("laptop", "desktop"):
        result = CliRunner().invoke(muxado_command, ["token", "--name", name, "--add", str(path)])
        found = read_tokens(path).find(result.stdout.removesuffix("\n"))
        assert found is not None
        assert found.name == name


@pytest.mark.parametrize(
    ("arguments", "typed", "hint"),
    [
        (("--hash",), "secret\n", "may be guessed"),
        (("--hash",), "", "may be guessed"),
        (("--hash",), "a secret that people think up, with spaces", "without spaces"),
        (("--names", "Blog"), "", "'Blog' is no pattern"),
        (("--name", "lap top"), "", "the name of a token"),
        (("--add", "/no/such/directory/tokens"), "", "No such file"),
    ],
)
def test_what_makes_no_token_is_wrong_usage(
    arguments: tuple[str, ...], typed: str, hint: str
) -> None:
    result = CliRunner().invoke(muxado_command, ["token", *arguments], input=typed)
    assert result.exit_code == 2
    assert hint in " ".join(result.stderr.split())
    assert result.stdout == ""


def test_a_token_is_asked_for_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    asked = []

    def prompt(text: str, **how: bool) -> str:
        asked.append(how)
        return TOKEN

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(click, "prompt", prompt)
    muxado_command(["token", "--hash"], standalone_mode=False)
    assert asked == [{"hide_input": True, "err": True}]
