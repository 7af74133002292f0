"""``muxado certs``: a directory with an authority, a gateway's certificate and those of agents.

What it is.  The files, and which of them a run makes: the authority where there is none; the gateway's certificate where
there is none or hosts are said; the named agents', and one called ``agent`` beside a new authority.  What is signed, and
how, is in :mod:`.authority`.  Who gives agents tokens (:mod:`.tokens`) has them made here too, and needs no certificates of agents.

The rules.  What is there is never written over, unless that was said, and the authority not even then: whatever it had
signed would be worth nothing.  All of that is found out before the first file is written.  A key can be read
by this user alone from its first byte on.

The trap.  Whoever has ``ca.key`` makes agents as he likes.  No gateway and no agent needs it.
"""

from __future__ import annotations

import datetime
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .authority import Authority, Signed, check_agent, serial_of, signed_hosts
from .deciding_files import TokenFileError
from .permits import check_patterns
from .revoked import read_revoked, serial_line
from .tokens import add_line, check_token_name, hash_token, make_token, parse_line, read_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("CertificateFileError", "Made", "Wanted", "gateway_hosts", "make_certificates", "revoke")

AUTHORITY, GATEWAY, AGENT = "ca", "gateway", "agent"

REVOKED = "revoked"
"""The file of what is revoked, for the gateway."""

TOKENS = "tokens"
"""The file of the tokens' hashes, for the gateway."""

HOSTS = ("localhost", "127.0.0.1", "::1")
"""Where a gateway is dialed if nothing is said: on this machine."""


class CertificateFileError(ValueError):
    """A file that is in the way, or cannot be used."""


class Wanted(NamedTuple):
    """What a run was asked for."""

    hosts: Sequence[str] = ()
    """Names and addresses of the gateway; none for a certificate for :data:`HOSTS`, if there is no other."""
    agents: Sequence[str] = ()
    names: Sequence[str] = ()
    """Patterns of what these agents may serve; none: any name."""
    days: int = 397
    authority_days: int = 3650
    overwrite: bool = False
    tokens: Sequence[str] = ()
    """Names of tokens, for what :attr:`names` has."""


class Made(NamedTuple):
    """A certificate or a token that was made."""

    path: Path
    key: Path
    """Its key; the gateway's file that has the hash of the token."""
    what: str
    until: str


def make_certificates(directory: Path, wanted: Wanted) -> list[Made]:
    """Make what is ``wanted`` and what is missing in ``directory``, which is made too.

    :raises CertificateFileError: if something is in the way, if the authority there cannot be used, or if there is
        nothing to do.
    :raises ValueError: for a host or a name that cannot be one.
    """
    is_new = not _exists(directory, AUTHORITY)
    hosts = wanted.hosts or (() if _exists(directory, GATEWAY) else HOSTS)
    agents = _names(wanted.agents) or ([AGENT] if is_new and not wanted.tokens else [])
    if wanted.names and not (agents or wanted.tokens):
        raise ValueError("names are for agents: say --agent NAME with --names, or --token NAME")
    patterns = check_patterns(tuple(wanted.names) or ("*",))
    _check_tokens(directory, wanted.tokens)
    if hosts or agents or not wanted.tokens:
        _check_free(directory, [GATEWAY, *agents] if hosts else agents, is_new, wanted.overwrite)
    signed: dict[str, tuple[Signed, str]] = {}
    if is_new:
        authority, kept = Authority.make(wanted.authority_days)
        signed[AUTHORITY] = kept, "authority"
    else:
        authority = _load(directory)
    if hosts:
        what = f"gateway at {', '.join(hosts)}"
        signed[GATEWAY] = authority.sign_gateway(hosts, wanted.days), what
    names = "any name" if "*" in patterns else ", ".join(patterns)
    for name in agents:
        signed[name] = authority.sign_agent(name, patterns, wanted.days), f"agent for {names}"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = [_keep(directory, name, *one) for name, one in signed.items()]
        for name in dict.fromkeys(wanted.tokens):
            made.append(_keep_token(directory, name, patterns, f"token for {names}"))
        return made
    except OSError as exc:
        raise CertificateFileError(f"cannot write into {directory}: {exc.strerror or exc}") from exc


def revoke(directory: Path, agents: Sequence[str]) -> tuple[Path, list[str]]:
    """Write down that the certificates of ``agents`` in ``directory`` are good no more, for ``muxado gateway --revoked``.

    :returns: the file, and those of the agents that were not in it yet.
    :raises CertificateFileError: if one has no certificate there, or the file cannot be used; nothing is written then.
    :raises ValueError: for a name that cannot be an agent's, or if the file is wrong.
    """
    path = directory / REVOKED
    found: dict[str, int] = {}
    for name in _names(agents):
        try:
            found[name] = serial_of((directory / f"{name}.pem").read_bytes())
        except OSError as exc:
            raise CertificateFileError(f"cannot read {exc.filename}: {exc.strerror}") from exc
        except ValueError as exc:
            raise CertificateFileError(f"cannot use {directory / name}.pem: {exc}") from exc
    known = read_revoked(path).serials if path.exists() else frozenset()
    new = [name for name, serial in found.items() if serial not in known]
    today = datetime.datetime.now(datetime.UTC)
    lines = [f"# {name}, {today:%Y-%m-%d}\n{serial_line(found[name])}\n" for name in new]
    try:
        with path.open("a+b") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                lines[:0] = [] if file.read(1) == b"\n" else ["\n"]
            file.write("".join(lines).encode())
    except OSError as exc:
        raise CertificateFileError(f"cannot write {path}: {exc.strerror or exc}") from exc
    return path, new


def gateway_hosts(directory: Path) -> Sequence[str]:
    """What the gateway's certificate in ``directory`` is for; :data:`HOSTS` if that cannot be read."""
    try:
        return signed_hosts((directory / f"{GATEWAY}.pem").read_bytes()) or HOSTS
    except (OSError, ValueError):
        return HOSTS


def _names(agents: Sequence[str]) -> list[str]:
    for name in agents:
        if check_agent(name).lower() in (AUTHORITY, GATEWAY):
            raise ValueError(f"{name!r} cannot be an agent's name: {name}.pem is another's")
    return list(dict.fromkeys(agents))


def _check_tokens(directory: Path, names: Sequence[str]) -> None:
    """:raises CertificateFileError: if one of them is there.
    :raises ValueError: for what cannot be the name of one, or if the file of tokens is wrong.
    """
    if not names:
        return
    known = read_tokens(directory / TOKENS) if (directory / TOKENS).exists() else None
    for name in names:
        path = directory / f"{check_token_name(name)}.token"
        if os.path.lexists(path):
            raise CertificateFileError(f"{path}: there already; take it away, or use it")
        if known is not None and name in known.names():
            raise TokenFileError(f"{directory / TOKENS} has a token {name} already")


def _keep_token(directory: Path, name: str, patterns: tuple[str, ...], what: str) -> Made:
    path, hashes, token = directory / f"{name}.token", directory / TOKENS, make_token()
    add_line(hashes, parse_line(name, hash_token(token), ",".join(patterns)))
    _write(path, f"{token}\n".encode(), 0o600)
    return Made(path, hashes, what, "its line is taken out")


def _check_free(directory: Path, names: list[str], is_new: bool, overwrite: bool) -> None:
    if not names:
        raise CertificateFileError(
            f"{directory} has an authority and a gateway's certificate: say --agent NAME for one more agent"
        )
    taken = [str(directory / f"{name}.pem") for name in names if _exists(directory, name)]
    if taken and is_new:
        raise CertificateFileError(
            f"{', '.join(taken)}: there already, and signed by an authority that is not in {directory}"
        )
    if taken and not overwrite:
        raise CertificateFileError(
            f"{', '.join(taken)}: there already; say --overwrite to replace what is named"
        )


def _exists(directory: Path, name: str) -> bool:
    return any(os.path.lexists(directory / f"{name}.{kind}") for kind in ("pem", "key"))


def _load(directory: Path) -> Authority:
    try:
        return Authority.load(
            (directory / f"{AUTHORITY}.pem").read_bytes(),
            (directory / f"{AUTHORITY}.key").read_bytes(),
        )
    except OSError as exc:
        raise CertificateFileError(
            f"cannot read the authority, {exc.filename}: {exc.strerror}"
        ) from exc
    except ValueError as exc:
        raise CertificateFileError(
            f"cannot use the authority {directory / AUTHORITY}.pem: {exc}"
        ) from exc


def _keep(directory: Path, name: str, signed: Signed, what: str) -> Made:
    key, path = directory / f"{name}.key", directory / f"{name}.pem"
    _write(key, signed.key, 0o600)
    _write(path, signed.certificate, 0o644)
    return Made(path, key, what, f"{signed.until:%Y-%m-%d}")


def _write(path: Path, data: bytes, mode: int) -> None:
    """All of it or nothing, and whoever reads meanwhile has the file that was there."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
