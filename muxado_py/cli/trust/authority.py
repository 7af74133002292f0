"""An authority, and the certificates that it signs for a gateway and for its agents.

What it is.  X.509 as RFC 5280 and the browsers want it: keys on the curve P-256, which every TLS library has; an
authority that signs leaves and no further authorities; leaves that say what they are for.  A gateway's certificate is
a server's and no client's, an agent's the other way round, so neither can stand in for the other.

The rule.  Nothing is written here and nobody is asked: :mod:`.certs` has the files.  cryptography is imported at
the top, so this module is itself imported only where that has been found.

The trap.  OpenSSL is lenient where others are not: Python 3.13 verifies with ``VERIFY_X509_STRICT``, for which the
key identifiers and the key usage are no ornaments.  The clocks of two machines differ, so all begins an hour ago.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
import secrets
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("Authority", "Signed", "check_agent", "serial_of", "signed_hosts")

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

MAX_COMMON_NAME = 64  # characters, RFC 5280's ub-common-name

SKEW = datetime.timedelta(hours=1)

_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")


class Signed(NamedTuple):
    """A certificate and its key, both PEM."""

    certificate: bytes
    key: bytes
    until: datetime.datetime


class Authority:
    """Who signs; see :meth:`make` and :meth:`load`."""

    def __init__(self, certificate: x509.Certificate, key: Key) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def make(cls, days: int) -> tuple[Authority, Signed]:
        """A new one, and what to keep of it.

        :param days: how long it is good for, and so whatever it signs.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(f"muxado authority {secrets.token_hex(4)}")  # no two of one name
        certificate = (
            _begun(name, name, key.public_key(), _days_from_now(days))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
            )
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key), _signed(certificate, key)

    @classmethod
    def load(cls, certificate: bytes, key: bytes) -> Authority:
        """The one that was kept.

        :raises ValueError: if these are no authority and its key, or if its time is over.
        """
        authority = x509.load_pem_x509_certificate(certificate)
        try:
            loaded = serialization.load_pem_private_key(key, None)
        except TypeError as exc:
            raise ValueError("its key is under a password") from exc
        if not isinstance(loaded, Key):
            raise ValueError("its key is neither of an elliptic curve nor of RSA")
        if loaded.public_key() != authority.public_key():
            raise ValueError("its key is another certificate's")
        try:
            is_authority = authority.extensions.get_extension_for_class(
                x509.BasicConstraints
            ).value.ca
        except x509.ExtensionNotFound:
            is_authority = False
        if not is_authority:
            raise ValueError("it is the certificate of no authority")
        if authority.not_valid_after_utc <= _now():
            raise ValueError(f"it ended on {authority.not_valid_after_utc:%Y-%m-%d}")
        return cls(authority, loaded)

    def sign_gateway(self, hosts: Sequence[str], days: int) -> Signed:
        """A certificate for the side that listens.

        :param hosts: names and addresses at which agents dial it.
        :raises ValueError: if one of them is neither.
        """
        return self._sign(
            hosts[0], [_host(host) for host in hosts], ExtendedKeyUsageOID.SERVER_AUTH, days
        )

    def sign_agent(self, name: str, patterns: Sequence[str], days: int) -> Signed:
        """A certificate for the side that dials.

        :param name: what the gateway's log calls it, as :func:`check_agent` allows.
        :param patterns: of the names that it may serve, as :func:`.tokens.check_patterns` allows; they are its DNS names.
        """
        names = [x509.DNSName(pattern) for pattern in patterns]
        return self._sign(name, names, ExtendedKeyUsageOID.CLIENT_AUTH, days)

    def _sign(
        self,
        common_name: str,
        names: Sequence[x509.GeneralName],
        purpose: x509.ObjectIdentifier,
        days: int,
    ) -> Signed:
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = self._certificate
        until = min(_days_from_now(days), issuer.not_valid_after_utc)
        certificate = (
            _begun(_name(common_name), issuer.subject, key.public_key(), until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(self._identifier(), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return _signed(certificate, key)

    def _identifier(self) -> x509.AuthorityKeyIdentifier:
        """As this authority identifies its key, which somebody else's tool may have done in a way of its own."""
        of = x509.AuthorityKeyIdentifier
        try:
            found = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        except x509.ExtensionNotFound:
            return of.from_issuer_public_key(self._key.public_key())
        return of.from_issuer_subject_key_identifier(found.value)


def check_agent(name: str) -> str:
    """The name of an agent, unchanged.

    :raises ValueError: if it could be no host's, or is too long for a certificate.
    """
    if not _DOMAIN.fullmatch(name) or len(name) > MAX_COMMON_NAME:
        raise ValueError(
            f"{name!r} cannot be an agent's name: write at most {MAX_COMMON_NAME} ASCII letters, digits, - and ., "
            "as in the name of a host"
        )
    return name


def serial_of(certificate: bytes) -> int:
    """The number that the authority has given to ``certificate``.

    :raises ValueError: if it is no certificate.
    """
    return x509.load_pem_x509_certificate(certificate).serial_number


def signed_hosts(certificate: bytes) -> list[str]:
    """The names and addresses that a gateway's ``certificate`` is for, in order.

    :raises ValueError: if it is no certificate.
    """
    extensions = x509.load_pem_x509_certificate(certificate).extensions
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in names]


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        domain = text.removeprefix("*.")  # of which OpenSSL takes none that has one label only
        if not _DOMAIN.fullmatch(domain) or (domain != text and "." not in domain):
            raise ValueError(
                f"{text!r} is no host: write a name in ASCII, as gateway.example, *.gateway.example or xn--..., "
                "or an address, as 192.0.2.1 or 2001:db8::1"
            ) from None
        return x509.DNSName(text)


def _begun(
    subject: x509.Name, issuer: x509.Name, key: PublicKey, until: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - SKEW)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    name = common_name[:MAX_COMMON_NAME]
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _signed(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Signed:
    return Signed(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        certificate.not_valid_after_utc,
    )


def _days_from_now(days: int) -> datetime.datetime:
    return _now() + datetime.timedelta(days=days)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
