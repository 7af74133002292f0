"""Tokens: what an agent shows a gateway, and the file that says which names each is good for.

What it is.  A *token* is a secret of 256 random bits behind a prefix that people and scanners for leaked secrets
recognize.  The gateway's token file has a line for each, ``name:hash:patterns``, where the name is the token's in the
log, the hash a SHA-256 of it, and the patterns are the names that its holder may serve: ``blog``, ``blog-*``, ``*``.
A fourth part, ``max_sessions=2,max_callers=50,session_ttl=3600``, says how much of the gateway its holder may have at once, and for
how many seconds.
A :class:`Tokens` is what a file said when it was read, and never changes; who reloads reads a new one.

The rules.  The token is in no file of the gateway's, in no message and in no line of the log: of a line that is wrong,
a message quotes nothing that could be one.  Whoever may write the file decides who serves, so a file that everybody
may write is refused.  A token that came is compared with every line, each in constant time, and only hashes are
compared: how long an answer took tells nothing of what is in the file.

The trap.  One round of SHA-256 is right for what nobody can guess and wrong for what people think up: so a token that
is too short for a machine's is refused where it would be hashed, and not where it is shown.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = (
    "Bounds",
    "Permit",
    "Readers",
    "TokenFileError",
    "TokenLine",
    "Tokens",
    "add_line",
    "bounds_of",
    "check_patterns",
    "check_token_name",
    "hash_token",
    "make_token",
    "parse_line",
    "parse_tokens",
    "read_deciding",
    "read_shared_tokens",
    "read_token",
    "read_tokens",
)

logger = logging.getLogger("muxado.cli")

PREFIX = "muxado_"
SECRET_BYTES = 32

MIN_TOKEN = 32
"""Characters of a token that somebody else made; shorter ones may be words."""

ALGORITHM = "sha256="

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")
_HASH = re.compile(re.escape(ALGORITHM) + "[0-9a-f]{64}")
_PATTERN = re.compile(r"[a-z0-9*-]{1,63}")


class TokenFileError(ValueError):
    """A token file that cannot be used; the message has a line for each fault."""


class Readers:
    """Who may read a file whose text is a secret: whoever reads it again and again keeps one, and warns once."""

    def __init__(self) -> None:
        self._warned: tuple[int, ...] | None = None  # of the file as it was

    def check(self, path: Path, status: os.stat_result) -> None:
        """Warn if everybody may, unless there was a warning since the file was changed."""
        if not _mode(status) & stat.S_IROTH:
            return
        now = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
        if now != self._warned:
            self._warned = now
            logger.warning("%s can be read by everybody: chmod 600 %s", path, path)


class Bounds(NamedTuple):
    """How much of a gateway one holder may have at once, and for how long; None: as everybody (:mod:`..agents.holdings`)."""

    sessions: int | None = None
    """Of agents, and of those who call."""
    callers: int | None = None
    """That come to its agents, or by its sessions."""
    session_ttl: int | None = None
    """Seconds that a session lasts, after which its token, or its certificate, is to be shown anew."""

    def __str__(self) -> str:
        return ",".join(
            f"{word}={number}" for word, number in zip(BOUNDS, self, strict=True) if number
        )


BOUNDS = ("max_sessions", "max_callers", "session_ttl")
"""What the fields of :class:`Bounds` are called in a token file, and in a JWT."""


class Permit(NamedTuple):
    """What a token is for."""

    name: str
    """Of the token, or of its holder, for the log."""
    patterns: tuple[str, ...]
    id: str | None = None
    """By which it may be revoked, if it has one: the ``jti`` of a JWT."""
    bounds: Bounds = Bounds()

    def allows(self, name: str) -> bool:
        """Whether its holder may serve ``name``: in a pattern a ``*`` stands for any part of it, or for none.

        An agent without a name serves the name ``""``, which ``*`` allows.
        """
        return any(fnmatchcase(name, pattern) for pattern in self.patterns)


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
    return TokenLine(Permit(name, check_patterns(parts), bounds=_parse_bounds(bounds)), hashed)


def _parse_bounds(text: str) -> Bounds:
    """:raises ValueError: if it is none."""
    said: dict[str, object] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        word, _, number = (side.strip() for side in part.partition("="))
        if word not in BOUNDS or word in said:
            raise ValueError(
                f"the fourth part is for bounds: {', '.join(f'{one}=NUMBER' for one in BOUNDS)}, each once"
            )
        said[word] = int(number) if re.fullmatch("[0-9]{1,9}", number) else number
    return bounds_of(said)


def bounds_of(said: Mapping[str, object]) -> Bounds:
    """The bounds that a token says, with other things.

    :raises ValueError: if one is no number, or too small.
    """
    found = []
    for word in BOUNDS:
        number = said.get(word)
        if number is not None and (type(number) is not int or number < 1):
            raise ValueError(f"{word} must be a number, 1 or greater")
        found.append(number)
    return Bounds(*found)


def check_patterns(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Patterns of names, unchanged.

    :raises ValueError: if one of them is none.
    """
    for pattern in patterns:
        if not _PATTERN.fullmatch(pattern):
            raise ValueError(
                f"{pattern[:80]!r} is no pattern of names: write blog, or blog-*, or * for any name, "
                "in lower case and with commas between them"
            )
    return patterns


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


def read_deciding(path: Path, *, is_secret: bool = True) -> str:
    """The text of a file that says who may do something; if it is secret, there is a warning where everybody may read it.

    :raises TokenFileError: if it cannot be read, or everybody may write it, or if it is a pipe that has been read.
    """
    text, status = _read(path)
    if not text and not path.is_file():
        raise TokenFileError(f"{path} has nothing to read, and is no file that could be read again")
    if _mode(status) & stat.S_IWOTH:
        raise TokenFileError(
            f"{path} can be written by everybody, who could then serve any name: chmod 600 {path}"
        )
    if is_secret:
        Readers().check(path, status)
    return text


def read_token(path: Path, readers: Readers | None = None) -> str:
    """The token of an agent, which is all that the file at ``path`` has; a file that everybody may read is warned of.

    :param readers: who knows whether there was a warning already.
    :raises TokenFileError: if it cannot be read, or has something else.
    """
    text, status = _read(path)
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
        raise TokenFileError(f"cannot write {path}: {_reason(exc)}") from exc


def _read(path: Path) -> tuple[str, os.stat_result]:
    """Its text, and what it was when that was read."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            return file.read(), os.fstat(file.fileno())
    except (OSError, UnicodeDecodeError) as exc:
        raise TokenFileError(f"cannot read {path}: {_reason(exc)}") from exc


def _mode(status: os.stat_result) -> int:
    """The mode of a file, if it is one that counts."""
    mode = status.st_mode
    return mode if os.name == "posix" and stat.S_ISREG(mode) else 0


def _digest(token: str) -> str:
    return ALGORITHM + hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def _reason(exc: OSError | UnicodeDecodeError) -> str:
    return exc.strerror or str(exc) if isinstance(exc, OSError) else "it is no text in UTF-8"
