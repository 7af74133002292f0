"""Tokens: what an agent shows a gateway, and the file that says which names each is good for.

What it is.  A *token* is a secret of 256 random bits behind a prefix that people and scanners for leaked secrets
recognize.  The gateway's token file has a line for each, ``name:hash:patterns``, where the name is the token's in the
log, the hash a SHA-256 of it, and the patterns are the names that its holder may serve: ``blog``, ``blog-*``, ``*``.
A fourth part, ``max_sessions=2,max_callers=50,session_ttl=3600``, says how much of the gateway its holder may have at once, and for
how many seconds.  What a line grants is a :class:`~.permits.Permit`.
A :class:`Tokens` is what a file said when it was read, and never changes; who reloads reads a new one.

The rules.  The token is in no file of the gateway's, in no message and in no line of the log: of a line that is wrong,
a message quotes nothing that could be one.  The file is one that decides (:mod:`.deciding_files`).  A token that came is
compared with every line, each in constant time, and only hashes are compared: how long an answer took tells nothing of what is
in the file.

The trap.  One round of SHA-256 is right for what nobody can guess and wrong for what people think up: so a token that
is too short for a machine's is refused where it would be hashed, and not where it is shown.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from typing import TYPE_CHECKING, NamedTuple

from .deciding_files import Readers, TokenFileError, read_deciding, read_text, reading_fault
from .permits import Permit, check_patterns, parse_bounds

if TYPE_CHECKING:
    from pathlib import Path

__all__ = (
    "TokenLine",
    "Tokens",
    "add_line",
    "check_token_name",
    "hash_token",
    "make_token",
    "parse_line",
    "parse_tokens",
    "read_shared_tokens",
    "read_token",
    "read_tokens",
)

PREFIX = "muxado_"
SECRET_BYTES = 32

MIN_TOKEN = 32
"""Characters of a token that somebody else made; shorter ones may be words."""

ALGORITHM = "sha256="

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")
_HASH = re.compile(re.escape(ALGORITHM) + "[0-9a-f]{64}")


class TokenLine(NamedTuple):
    """One token, as the file has it."""

    permit: Permit
    hash: str

    def __str__(self) -> str:
        bounds = f":{self.permit.bounds}" if any(self.permit.bounds) else ""
        return f"{self.permit.name}:{self.hash}:{','.join(self.permit.patterns)}{bounds}"


class Tokens:
    """What a token file said when it was read."""

    __slots__ = ("_lines",)

    def __init__(self, lines: tuple[TokenLine, ...]) -> None:
        self._lines = lines

    def __len__(self) -> int:
        return len(self._lines)

    def names(self) -> frozenset[str]:
        """What they are called."""
        return frozenset(line.permit.name for line in self._lines)

    def find(self, token: str) -> Permit | None:
        """What ``token`` is for; None if it is not in the file."""
        shown = _digest(token)
        found = None
        for line in self._lines:
            if hmac.compare_digest(line.hash, shown):
                found = line.permit
        return found


def make_token() -> str:
    """A new one."""
    return PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def hash_token(token: str) -> str:
    """What the token file says instead of ``token``.

    :raises ValueError: if it could be guessed, or could not be shown.
    """
    if len(token) < MIN_TOKEN:
        raise ValueError(
            f"a token of {len(token)} characters may be guessed: take one of {MIN_TOKEN} or more, "
            "or have one made by: muxado token"
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("a token is of ASCII letters, digits and signs, without spaces")
    return _digest(token)


def check_token_name(name: str) -> str:
    """The name of a token, unchanged.

    :raises ValueError: if it is none.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            "the name of a token begins with a letter or a digit and has at most 63 letters, digits, - _ . or @"
        )
    return name


def parse_line(name: str, hashed: str, patterns: str, bounds: str = "") -> TokenLine:
    """A line of the file, of its parts.

    :raises ValueError: if one of them is wrong.
    """
    check_token_name(name)
    if not _HASH.fullmatch(hashed):
        raise ValueError(
            f"the second part is no hash, {ALGORITHM} and 64 hexadecimal digits: muxado token --hash makes it"
        )
    parts = tuple(part.strip() for part in patterns.split(","))
    return TokenLine(Permit(name, check_patterns(parts), bounds=parse_bounds(bounds)), hashed)


def parse_tokens(text: str, source: str) -> Tokens:
    """The tokens of a file's ``text``; lines that are blank or begin with ``#`` are passed over.

    :param source: what to call the file in messages.
    :raises TokenFileError: with each line that is wrong or says again what an earlier one said.
    """
    lines: list[TokenLine] = []
    faults: list[str] = []
    names: dict[str, int] = {}
    hashes: dict[str, int] = {}
    for number, written in enumerate(text.split("\n"), 1):
        bare = written.strip()
        if not bare or bare.startswith("#"):
            continue
        parts = [part.strip() for part in bare.split(":")]
        try:
            if len(parts) not in (3, 4):
                raise ValueError(
                    f"has {len(parts)} part(s) between colons and not 3 or 4: name:hash:patterns[:bounds]"
                )
            line = parse_line(*parts)
            name = line.permit.name
            if name in names:
                raise ValueError(
                    f"line {names[name]} has the name {name} already: each token needs its own"
                )
            if line.hash in hashes:
                raise ValueError(f"line {hashes[line.hash]} has the same token")
        except ValueError as exc:
            faults.append(f"{source}, line {number}: {exc}")
            continue
        names[name] = hashes[line.hash] = number
        lines.append(line)
    if faults:
        raise TokenFileError("\n".join(faults))
    return Tokens(tuple(lines))


def read_tokens(path: Path) -> Tokens:
    """The tokens of the file at ``path``; a file that everybody may read is warned of.

    :raises TokenFileError: if it cannot be read, if everybody may write it, or as :func:`parse_tokens`.
    """
    return parse_tokens(read_deciding(path), str(path))


def read_token(path: Path, readers: Readers | None = None) -> str:
    """The token of an agent, which is all that the file at ``path`` has; a file that everybody may read is warned of.

    :param readers: who knows whether there was a warning already.
    :raises TokenFileError: if it cannot be read, or has something else.
    """
    text, status = read_text(path)
    (readers or Readers()).check(path, status)
    text = text.strip()
    if re.search(rf":\s*{re.escape(ALGORITHM)}", text):
        raise TokenFileError(
            f"{path} has hashes, as a gateway's --token-file: an agent's has its token, and nothing else"
        )
    if not text or len(text.split()) > 1:
        raise TokenFileError(f"{path} must have a token, and nothing else")
    return text


def read_shared_tokens(path: Path) -> tuple[str, ...]:
    """Those that all gateways of a cluster have: one in each line, the one to show first.

    The hashes that ``muxado token`` prints with them are passed over.

    :raises TokenFileError: if the file cannot be read, or everybody may write it, or if it has something else.
    """
    words = read_deciding(path).split()
    tokens = tuple(word for word in words if ALGORITHM not in word)
    if words and not tokens:
        raise TokenFileError(
            f"{path} has hashes, as --token-file: all gateways of a cluster have its token"
        )
    if not tokens:
        raise TokenFileError(f"{path} must have a token in each line, and nothing else")
    for number, token in enumerate(tokens, 1):
        try:
            hash_token(token)
        except ValueError as exc:
            raise TokenFileError(f"{path}, token {number}: {exc}") from None
    return tokens


def add_line(path: Path, line: TokenLine) -> None:
    """Write ``line`` at the end of the file at ``path``, which is made for this user alone if there is none.

    :raises TokenFileError: if the file cannot be used, or has that name or that token.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b") as file:
            text = file.read().decode("utf-8-sig")
            between = "" if not text or text.endswith("\n") else "\n"
            parse_tokens(f"{text}{between}{line}\n", str(path))
            file.write(f"{between}{line}\n".encode())
    except (OSError, UnicodeDecodeError) as exc:
        raise TokenFileError(f"cannot write {path}: {reading_fault(exc)}") from exc


def _digest(token: str) -> str:
    return ALGORITHM + hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()
