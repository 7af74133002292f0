"""Causes: why no session came about, or why one ended, in words and in kinds.

What it is.  An error comes from a system call, from TLS, from anyio or from us, often wrapped by another one.  Whoever dials
again and again says each time why, in one line; and some causes want something else than patience.

The rule.  Nothing in here advises: which option of whose mends it knows only who was given the option.

The trap.  With TLS 1.3 the side that dials is done with its handshake before the peer has judged its certificate; so that
the peer does not trust it comes as the end of a session.
"""

from __future__ import annotations

import os
import re
import ssl
from typing import Literal, NamedTuple

from ..errors import TransportError, escaped

__all__ = ("Distrust", "distrust", "has_no_tls", "nobody_listens", "reason")

UNKNOWN_ISSUER = (18, 19, 20, 21)
"""OpenSSL's codes (x509_vfy.h) for a chain that ends at no authority that is trusted here."""

REFUSAL = re.compile(r"ALERT_(\w*CERTIFICATE\w*|UNKNOWN_CA)\b")
"""What OpenSSL says where the peer's alert is about this side's certificate."""


class Distrust(NamedTuple):
    """One side does not trust the other's certificate: waiting mends nothing."""

    text: str
    """What is wrong, in words that begin behind the name of the peer."""
    wants: Literal["nothing", "authority", "certificate"]
    """What this side could be given: nothing; an authority that it trusts; a certificate of its own."""


def reason(exc: BaseException) -> str:
    """One line for people: what ``exc`` says, or its type if it says nothing."""
    while True:
        if isinstance(exc, BaseExceptionGroup):
            exc = exc.exceptions[0]
        elif type(exc) is OSError and exc.__cause__ is not None:
            exc = exc.__cause__  # anyio's "All connection attempts failed"
        else:
            break
    if isinstance(exc, OSError) and exc.strerror and exc.filename is None:
        if isinstance(exc, ConnectionRefusedError) and exc.errno:
            return os.strerror(exc.errno)  # each loop has its own text, asyncio's lacks the cause
        return exc.strerror
    return escaped(str(exc)) or type(exc).__name__


def distrust(exc: BaseException | None) -> Distrust | None:
    """Which side does not trust the other's certificate; None if it is not that."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        why = exc.verify_message.rstrip(".")
        if exc.verify_code in UNKNOWN_ISSUER:
            return Distrust(f"shows a certificate that is not trusted: {why}", "authority")
        return Distrust(f"shows a certificate that does not hold: {why}", "nothing")
    if isinstance(exc, ssl.SSLError | TransportError) and (alert := REFUSAL.search(str(exc))):
        why = alert[1].replace("_", " ").lower()
        return Distrust(f"does not let this side in: {why}", "certificate")
    return None


def has_no_tls(exc: BaseException | None) -> bool:
    """Whether the peer's first bytes were none of TLS."""
    return isinstance(exc, ssl.SSLError) and getattr(exc, "reason", "") == "WRONG_VERSION_NUMBER"


def nobody_listens(exc: BaseException | None) -> bool:
    """Whether it was refused by the system, at all addresses: no balancer is there either."""
    if isinstance(exc, BaseExceptionGroup):
        return all(nobody_listens(one) for one in exc.exceptions)
    if isinstance(exc, ConnectionRefusedError | FileNotFoundError):
        return True
    return type(exc) is OSError and nobody_listens(exc.__cause__)
