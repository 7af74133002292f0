"""Security: TLS contexts of which every handshake has the same length.

The trap.  A run replays exactly only if every record is as long as before.  So the key is RSA, whose
signatures are of one size, and nothing in the certificate is drawn but the key.
"""

from __future__ import annotations

import ssl
import tempfile
from datetime import datetime
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

__all__ = ("tls_contexts",)

NAME = "peer"


@cache
def tls_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """For the side that dials and for the other."""
    server, client = (
        ssl.SSLContext(one) for one in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT)
    )
    client.check_hostname = False
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "identity.pem"
        path.write_bytes(_identity())
        server.load_cert_chain(path)
        client.load_verify_locations(path)
    return client, server


def _identity() -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1 << 100)
        .not_valid_before(datetime(2020, 1, 1))
        .not_valid_after(datetime(2120, 1, 1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)
