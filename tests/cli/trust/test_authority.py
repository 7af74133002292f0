"""What an authority signs is taken for what it is for, by OpenSSL at its strictest, and for nothing else."""

from __future__ import annotations

import datetime
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from muxado_py.cli.trust.authority import Authority, Signed, check_agent

if TYPE_CHECKING:
    from pathlib import Path

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def pem(key: Key, password: bytes | None = None) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption(),
    )


class Ends:
    """Both ends of a TLS handshake in memory: who shows what, and whom each trusts."""

    def __init__(self, path: Path, authority: Signed, *, strict: bool = True) -> None:
        self._path = path
        self._authority = authority
        self._strict = strict

    def _context(self, protocol: int, shown: Signed) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        self._path.write_bytes(shown.certificate + shown.key)
        context.load_cert_chain(self._path)
        context.load_verify_locations(cadata=self._authority.certificate.decode())
        context.verify_mode = ssl.CERT_REQUIRED
        if self._strict:  # as Python 3.13 is unasked
            context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    def shake(self, gateway: Signed, agent: Signed, host: str = "localhost") -> None:
        """:raises ssl.SSLError: if one does not take the other."""
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        dialing = self._context(ssl.PROTOCOL_TLS_CLIENT, agent)
        listening = self._context(ssl.PROTOCOL_TLS_SERVER, gateway)
        client = dialing.wrap_bio(down, up, server_hostname=host)
        server = listening.wrap_bio(up, down, server_side=True)
        for side in (client, server):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
        client.do_handshake()
        server.do_handshake()


@pytest.fixture
def made() -> tuple[Authority, Signed]:
    return Authority.make(30)


@pytest.fixture
def ends(tmp_path: Path, made: tuple[Authority, Signed]) -> Ends:
    return Ends(tmp_path / "shown.pem", made[1])


def test_a_gateway_and_an_agent_take_each_other(made: tuple[Authority, Signed], ends: Ends) -> None:
    authority, _ = made
    hosts = ("localhost", "*.gateway.example", "127.0.0.1", "::1")
    gateway = authority.sign_gateway(hosts, 10)
    agent = authority.sign_agent("laptop", ("*",), 10)
    for host in ("localhost", "my.gateway.example", "127.0.0.1", "::1"):
        ends.shake(gateway, agent, host)
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        ends.shake(gateway, agent, "gateway.example")


def test_neither_stands_in_for_the_other(made: tuple[Authority, Signed], ends: Ends) -> None:
    authority, _ = made
    gateway, agent = (
        authority.sign_gateway(("localhost",), 10),
        authority.sign_agent("localhost", ("*",), 10),
    )
    for shown in ((agent, agent), (gateway, gateway)):
        with pytest.raises(ssl.SSLCertVerificationError, match=r"(unsuitable|unsupported) cert"):
            ends.shake(*shown)


def test_what_another_authority_signed_is_not_taken(
    made: tuple[Authority, Signed], ends: Ends
) -> None:
    authority, _ = made
    stranger, _ = Authority.make(30)
    gateway, agent = (
        authority.sign_gateway(("localhost",), 10),
        authority.sign_agent("laptop", ("*",), 10),
    )
    for shown in (
        (gateway, stranger.sign_agent("laptop", ("*",), 10)),
        (stranger.sign_gateway(("localhost",), 10), agent),
    ):
        with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
            ends.shake(*shown)


def test_an_agent_signs_nothing(made: tuple[Authority, Signed], ends: Ends) -> None:
    """Nor does the gateway: who has a leaf's key is no authority."""
    authority, _ = made
    agent = authority.sign_agent("laptop", ("*",), 10)
    with pytest.raises(ValueError, match="the certificate of no authority"):
        Authority.load(agent.certificate, agent.key)


def test_what_was_kept_signs_as_before(made: tuple[Authority, Signed], ends: Ends) -> None:
    _, kept = made
    again = Authority.load(kept.certificate, kept.key)
    ends.shake(again.sign_gateway(("localhost",), 10), again.sign_agent("laptop", ("*",), 10))


def test_nothing_outlives_its_authority(made: tuple[Authority, Signed]) -> None:
    authority, kept = made
    agent = authority.sign_agent("laptop", ("*",), 365)
    assert agent.until == kept.until
    assert agent.until == x509.load_pem_x509_certificate(agent.certificate).not_valid_after_utc
    now = datetime.datetime.now(datetime.UTC)
    short = authority.sign_agent("laptop", ("*",), 10).until
    assert datetime.timedelta(days=9) < short - now <= datetime.timedelta(days=10)


def test_two_authorities_have_two_names(made: tuple[Authority, Signed]) -> None:
    subjects = {
        x509.load_pem_x509_certificate(signed.certificate).subject
        for signed in (made[1], Authority.make(30)[1])
    }
    assert len(subjects) == 2


def authority_of(
    key: Key, *, days: int = 10, is_authority: bool | None = True, identifier: bytes | None = None
) -> bytes:
    """A certificate that somebody else's tool made."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "somebody's")])
    now = datetime.datetime.now(datetime.UTC)
    begun = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=20))
        .not_valid_after(now + datetime.timedelta(days=days))
    )
    if is_authority is not None:
        constraints = x509.BasicConstraints(ca=is_authority, path_length=None)
        begun = begun.add_extension(constraints, critical=True)
    if identifier is not None:
        begun = begun.add_extension(x509.SubjectKeyIdentifier(identifier), critical=False)
    signed = begun.sign(
        key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    )
    return signed.public_bytes(serialization.Encoding.PEM)


@pytest.mark.slow
@pytest.mark.parametrize("identifier", [None, b"of its own"])
def test_an_authority_of_somebody_elses_tool_signs_too(
    tmp_path: Path, identifier: bytes | None
) -> None:
    key = rsa.generate_private_key(65537, 2048)
    kept = Signed(authority_of(key, identifier=identifier), pem(key), datetime.datetime.max)
    authority = Authority.load(kept.certificate, kept.key)
    gateway, agent = (
        authority.sign_gateway(("localhost",), 5),
        authority.sign_agent("laptop", ("*",), 5),
    )
    Ends(tmp_path / "shown.pem", kept, strict=False).shake(gateway, agent)


def test_what_cannot_sign_says_why() -> None:
    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    strange = ed25519.Ed25519PrivateKey.generate()
    for certificate, kept, why in (
        (authority_of(key), pem(other), "its key is another certificate's"),
        (authority_of(key), pem(key, b"secret"), "its key is under a password"),
        (authority_of(strange), pem(strange), "neither of an elliptic curve nor of RSA"),
        (authority_of(key, days=-1), pem(key), r"it ended on \d{4}-\d\d-\d\d"),
        (authority_of(key, is_authority=False), pem(key), "the certificate of no authority"),
        (authority_of(key, is_authority=None), pem(key), "the certificate of no authority"),
        (b"", pem(key), "PEM"),
        (authority_of(key), b"", "PEM|deserialize"),
    ):
        with pytest.raises(ValueError, match=why):
            Authority.load(certificate, kept)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "a b",
        "a..b",
        "-a",
        "*",
        "*.example",
        "a.*.b",
        "b\N{LATIN SMALL LETTER U WITH DIAERESIS}r",
        "a" * 64,
    ],
)
def test_what_is_no_host_is_refused(made: tuple[Authority, Signed], host: str) -> None:
    with pytest.raises(ValueError, match="is no host: write a name in ASCII"):
        made[0].sign_gateway((host,), 10)


@pytest.mark.parametrize("name", ["", "..", "../ca", "a/b", "a b", "a_b", ".a", "a.", "a" * 65])
def test_what_is_no_name_of_an_agent_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be an agent's name"):
        check_agent(name)


@pytest.mark.parametrize("name", ["laptop", "Laptop-2", "laptop.example"])
def test_a_name_like_a_hosts_is_an_agents(name: str) -> None:
    assert check_agent(name) == name
