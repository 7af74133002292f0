"""TLS contexts: what each side trusts and shows, and where a key's password comes from."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import click
import pytest
from cryptography.hazmat.primitives import serialization

from muxado_py.cli.demo.certificate import make_certificate
from muxado_py.cli.tls import dialing_context, listening_context

if TYPE_CHECKING:
    from pathlib import Path

URL = "tls://127.0.0.1:7000"


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """A certificate, and its key under a password."""
    certfile, keyfile = make_certificate(tmp_path)
    key = serialization.load_pem_private_key(keyfile.read_bytes(), None)
    keyfile.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    return str(certfile), str(keyfile)


def test_without_tls_there_is_no_context() -> None:
    assert dialing_context("tcp://127.0.0.1:7000", None, None, None) is None
    assert listening_context("unix:///run/muxado", None, None, None) is None


def test_the_dialing_side_verifies_always(files: tuple[str, str]) -> None:
    for authorities in (None, files[0]):
        context = dialing_context(URL, None, None, authorities)
        assert context is not None
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname


def test_the_listening_side_asks_for_a_certificate_if_it_knows_an_authority(
    files: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUXADO_SSL_KEYFILE_PASSWORD", "secret")
    for authorities, mode in ((None, ssl.CERT_NONE), (files[0], ssl.CERT_REQUIRED)):
        context = listening_context(URL, *files, authorities)
        assert context is not None
        assert context.verify_mode is mode


@pytest.mark.parametrize("password", [None, "wrong"])
def test_a_key_that_cannot_be_opened_is_wrong_usage(
    files: tuple[str, str], monkeypatch: pytest.MonkeyPatch, password: str | None
) -> None:
    monkeypatch.delenv("MUXADO_SSL_KEYFILE_PASSWORD", raising=False)
    if password is not None:
        monkeypatch.setenv("MUXADO_SSL_KEYFILE_PASSWORD", password)
    with pytest.raises(click.UsageError, match="MUXADO_SSL_KEYFILE_PASSWORD"):
        dialing_context(URL, *files, None)


def test_authorities_that_are_none_are_wrong_usage(files: tuple[str, str]) -> None:
    for make in (dialing_context, listening_context):
        with pytest.raises(click.UsageError, match="--ssl-ca-certs"):
            make(URL, files[0], None, __file__)
