"""Certified: what the certificate says that a peer has shown.

What it is.  OpenSSL has verified it when a session begins; here is read what it is for.  Its DNS names are the names that its
holder may serve or call, with a ``*`` for any part of one, as in the patterns of a token; its common name is what the log
calls the holder.

The rules.  A DNS name that is no pattern, such as that of a host, says nothing here: an authority that signs for other
purposes too has said of nobody that he serves its names.  The common name is never one of them.

The trap.  Nothing that is not signed may count.  The fingerprint is taken over the signature too, which a holder can
write in another way (ECDSA's has two forms): so a certificate is known by its serial number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from anyio.streams.tls import TLSAttribute

from ...errors import escaped
from .permits import Permit, check_patterns

if TYPE_CHECKING:
    import muxado_py as muxado

__all__ = ("Certified", "certified")


class Certified(NamedTuple):
    """What one certificate says."""

    permit: Permit
    """Its name is empty where the certificate has none."""
    serial: int


def certified(session: muxado.Session) -> Certified | None:
    """What the certificate of the peer of ``session`` says; None if it was asked for none."""
    certificate = session.extra_attributes.get(TLSAttribute.peer_certificate, lambda: None)()
    if not certificate:
        return None
    common = [
        value
        for part in certificate.get("subject", ())
        for key, value in part
        if key == "commonName"
    ]
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    patterns = tuple(name.lower() for name in names if _is_pattern(name.lower()))
    return Certified(
        Permit(escaped(common[0]) if common else "", patterns),
        int(certificate["serialNumber"], 16),
    )


def _is_pattern(name: str) -> bool:
    try:
        check_patterns((name,))
    except ValueError:
        return False
    return True
