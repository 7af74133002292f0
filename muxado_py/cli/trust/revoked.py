"""Revoked: certificates and tokens that are good no more, though their time is not over.

What it is.  A file with a line for each: ``serial=5F3A...``, as ``openssl x509 -noout -serial`` prints it, for a certificate,
``jti=...`` for a JWT.  A token of a token file needs none of it: its line is taken out there.

The rules.  A file that is wrong in one line revokes what it revoked before, and its reader is told: a slip must let nobody
in again.  That somebody's time is over anyway is no reason to forget him.

The trap.  Serial numbers are an authority's own.  Where a gateway trusts several, a number revokes what has it with each
of them; so it may be one too many, and never one too few.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from .deciding_files import TokenFileError, read_deciding

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ("Revoked", "parse_revoked", "read_revoked", "serial_line")

# RFC 5280, 4.1.2.2: not negative, up to 20 octets; bear others.
_SERIAL = re.compile(r"-?[0-9A-Fa-f]{1,64}")


class Revoked(NamedTuple):
    """What a file said when it was read."""

    serials: frozenset[int] = frozenset()
    """Of certificates."""
    ids: frozenset[str] = frozenset()
    """Of JWT, their claim ``jti``."""


def serial_line(serial: int) -> str:
    """What the file says of a certificate."""
    return f"serial={serial:X}"


def parse_revoked(text: str, source: str) -> Revoked:
    """What a file's ``text`` says; lines that are blank or begin with ``#`` are passed over.

    :param source: what to call the file in messages.
    :raises TokenFileError: with each line that is wrong.
    """
    serials: set[int] = set()
    ids: set[str] = set()
    faults: list[str] = []
    for number, written in enumerate(text.split("\n"), 1):
        bare = written.strip()
        if not bare or bare.startswith("#"):
            continue
        kind, _, value = (part.strip() for part in bare.partition("="))
        if kind == "serial" and _SERIAL.fullmatch(digits := value.replace(":", "")):
            serials.add(int(digits, 16))
        elif kind == "jti" and value:
            ids.add(value)
        else:
            faults.append(
                f"{source}, line {number}: is neither serial=, with hexadecimal digits, of a certificate, "
                "nor jti= of a JWT"
            )
    if faults:
        raise TokenFileError("\n".join(faults))
    return Revoked(frozenset(serials), frozenset(ids))


def read_revoked(path: Path) -> Revoked:
    """What the file at ``path`` says.

    :raises TokenFileError: if it cannot be read, if everybody may write it, or as :func:`parse_revoked`.
    """
    return parse_revoked(read_deciding(path, is_secret=False), str(path))
