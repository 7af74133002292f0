"""JWT: tokens that somebody signs elsewhere, and the keys by which a gateway knows them.

What it is.  A file of keys, public ones in PEM or a set of JSON Web Keys (RFC 7517), and what a token that is signed
with one of them is for: the claim ``names`` has the patterns, ``sub`` or ``jti`` the name for the log, ``max_sessions``,
``max_callers`` and ``session_ttl`` how much its holder may have at once, and for how long.  ``exp`` and ``jti``, by which it may be revoked, are not optional.  PyJWT reads tokens; it is imported at the top, so this module is itself imported only where
that has been found.

The rules.  The key says which algorithm is used, and never the token: whoever could choose would take the public key for
a secret of HMAC.  A token for somebody else (``aud``) is none for us.  What a stranger made up is unknown here, whatever
a library makes of it.

The trap.  The time in a token ends what it lets in, not what was let in, before that has to show it anew (``session_ttl``):
:meth:`JwtKeys.find` is told whether it counts.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ...errors import escaped
from .deciding_files import TokenFileError, read_deciding
from .permits import Permit, bounds_of, check_patterns

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ("JwtKeys", "parse_keys", "read_keys")

MIN_SECRET = 32
"""Bytes of a key of HMAC, as RFC 7518, 3.2 has it for SHA-256."""

MIN_RSA = 2048
"""Bits."""

LEEWAY = 30.0
"""Seconds by which the clock of who signs may differ from ours."""

MAX_NAME = 63
"""Characters of a holder's name."""

CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}

_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


class _Pinned(NamedTuple):
    key: Any
    algorithm: str


class JwtKeys:
    """The keys that a file had when it was read."""

    __slots__ = ("_keys",)

    def __init__(self, keys: tuple[_Pinned, ...]) -> None:
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, token: str, *, ends: bool = True) -> Permit | None:
        """What ``token`` is for; None if none of the keys signed it.

        :param ends: whether it counts that its time is over.
        :raises PermissionError: if it is signed, and no good; the text is for its holder.
        """
        for key, algorithm in self._keys:
            try:
                claims = jwt.decode(
                    token,
                    key,
                    algorithms=[algorithm],
                    leeway=LEEWAY,
                    options={"require": ["exp", "jti", "names"], "verify_exp": ends},
                )
            except jwt.ExpiredSignatureError:
                raise PermissionError("the time of the token that it shows is over") from None
            except (jwt.DecodeError, jwt.InvalidAlgorithmError):
                continue  # it is no JWT, or not of this key
            except jwt.InvalidTokenError as exc:
                raise PermissionError(
                    f"the token that it shows is no good: {escaped(str(exc))}"
                ) from None
            except Exception:  # noqa: BLE001 - a stranger made it up, and no library foresees all of that
                continue
            return _permit(claims)
        return None


def parse_keys(text: str, source: str) -> JwtKeys:
    """The keys of a file's ``text``.

    :param source: what to call the file in messages.
    :raises TokenFileError: if there is none, or one that cannot be used.
    """
    try:
        found = _from_json(text) if text.lstrip().startswith("{") else _from_pem(text)
        if not found:
            raise ValueError("no key is in it: neither PEM nor a JWK or a set of them")
        return JwtKeys(tuple(found))
    except ValueError as exc:
        raise TokenFileError(f"{source}: {exc}") from None


def read_keys(path: Path) -> JwtKeys:
    """The keys of the file at ``path``.

    :raises TokenFileError: if it cannot be read, if everybody may write it, or as :func:`parse_keys`.
    """
    return parse_keys(read_deciding(path, is_secret=False), str(path))


def _from_pem(text: str) -> list[_Pinned]:
    found = []
    for block in _PEM.finditer(text):
        if "PRIVATE" in block[1]:
            raise ValueError("it has a private key: a gateway needs the public one alone")
        found.append(_pinned(serialization.load_pem_public_key(block[0].encode())))
    return found


def _from_json(text: str) -> list[_Pinned]:
    try:
        said = json.loads(text)
    except RecursionError:
        raise ValueError("it nests too deeply") from None
    keys = said.get("keys", [said])
    if not isinstance(keys, list):
        raise ValueError("keys is no list")
    return [_from_jwk(one) for one in keys]


def _from_jwk(said: Any) -> _Pinned:
    try:
        kind = said["kty"]
        if kind != "oct" and "d" in said:
            raise ValueError("it has a private key: a gateway needs the public one alone")
        if kind == "oct":
            algorithm = said.get("alg", "HS256")
        else:
            algorithm = said.get("alg") or {"RSA": "RS256", "OKP": "EdDSA"}.get(kind)
        key = jwt.PyJWK(said, algorithm).key
    except (KeyError, TypeError, AttributeError, jwt.PyJWTError) as exc:
        raise ValueError(f"a key of it is no JWK that is known here: {exc}") from None
    if isinstance(key, bytes):
        if len(key) < MIN_SECRET:
            raise ValueError(
                f"a secret of {len(key)} bytes may be guessed: take {MIN_SECRET} of them"
            )
        if algorithm != "HS256":
            raise ValueError(f"a secret is for HS256 and not for {algorithm}")
        return _Pinned(key, "HS256")
    pinned = _pinned(key)
    if said.get("alg", pinned.algorithm) != pinned.algorithm:
        raise ValueError(f"a key of its kind is for {pinned.algorithm} and not for {said['alg']}")
    return pinned


def _pinned(key: object) -> _Pinned:
    """With the one algorithm that is for its kind."""
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in CURVES:
        return _Pinned(key, CURVES[key.curve.name])
    if isinstance(key, ed25519.Ed25519PublicKey):
        return _Pinned(key, "EdDSA")
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < MIN_RSA:
            raise ValueError(f"a key of RSA has {key.key_size} bits: take {MIN_RSA} of them")
        return _Pinned(key, "RS256")
    raise ValueError("a key of it is neither of RSA, nor Ed25519, nor of a curve of NIST")


def _permit(claims: dict[str, Any]) -> Permit:
    names = claims["names"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise PermissionError("the token that it shows is no good: names is no list of patterns")
    try:
        patterns, bounds = check_patterns(tuple(names)), bounds_of(claims)
    except ValueError as exc:
        raise PermissionError(f"the token that it shows is no good: {exc}") from None
    number = claims["jti"]
    if not number or number != number.strip() or not number.isprintable():
        raise PermissionError(
            "the token that it shows is no good: its jti can be revoked by no line of a file"
        )
    return Permit(_shortened(escaped(claims.get("sub") or number)), patterns, number, bounds)


def _shortened(name: str) -> str:
    """For the log, and still of one holder alone."""
    if len(name) <= MAX_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{name[: MAX_NAME - len(digest) - 1]}~{digest}"
