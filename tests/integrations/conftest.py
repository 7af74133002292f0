"""Fixtures of the integrations' tests."""

from __future__ import annotations

import ssl

import pytest
import trustme


@pytest.fixture(scope="session")
def tls() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS for a server called ``app``, and for a client that trusts it."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("app").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client
