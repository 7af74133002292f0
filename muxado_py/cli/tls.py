"""TLS contexts from the ``--ssl-*`` and the ``--door-*`` options.

What it is.  The dialing side verifies the name and the certificate of the side it dials, with the
authorities of the system or those of ``--ssl-ca-certs``.  The listening side shows
``--ssl-certfile``; given ``--ssl-ca-certs`` too, it lets in only peers with a certificate of those
authorities.  That is how a gateway knows its agents: whoever connects to it *is* an agent and gets
the callers' requests.  A door with TLS shows a certificate and asks for none.

The rule.  There is no switch that turns verification off.  A self-signed certificate is trusted by
naming it with ``--ssl-ca-certs``.

The trap.  A password on the command line is read by everybody who can list processes, so the one
of an encrypted key comes from the environment alone.
"""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, NamedTuple

import click

from ..dialing.schemes import scheme_of

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = (
    "DoorContexts",
    "dialing_context",
    "door_contexts",
    "listening_context",
    "shared_context",
    "show_anew",
)

PASSWORD_VARIABLE = "MUXADO_SSL_KEYFILE_PASSWORD"


def shared_context(
    urls: Iterable[str], certfile: str | None, keyfile: str | None, ca_certs: str | None
) -> ssl.SSLContext | None:
    """What ``connect`` needs for those of ``urls`` that are ``tls://``; None if none is.

    :raises click.UsageError: as :func:`dialing_context`, for one of them.
    """
    contexts = [dialing_context(url, certfile, keyfile, ca_certs) for url in urls]
    return next((context for context in contexts if context is not None), None)


def dialing_context(
    url: str, certfile: str | None, keyfile: str | None, ca_certs: str | None
) -> ssl.SSLContext | None:
    """What ``connect`` needs for ``url``: None unless it is ``tls://``.

    :raises click.UsageError: the files do not fit each other, or TLS options without ``tls://``.
    """
    if not _wanted(url, certfile, keyfile, ca_certs):
        return None
    context = _trusting(ssl.Purpose.SERVER_AUTH, ca_certs)
    if certfile is not None:
        _load(context, certfile, keyfile)
    return context


def listening_context(
    url: str, certfile: str | None, keyfile: str | None, ca_certs: str | None
) -> ssl.SSLContext | None:
    """What ``listen`` needs for ``url``: None unless it is ``tls://``.

    :raises click.UsageError: no certificate, or as :func:`dialing_context`.
    """
    if not _wanted(url, certfile, keyfile, ca_certs):
        return None
    if certfile is None:
        raise click.UsageError("--listen tls:// needs --ssl-certfile (and --ssl-keyfile)")
    context = _trusting(ssl.Purpose.CLIENT_AUTH, ca_certs)
    if ca_certs is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    _load(context, certfile, keyfile)
    return context


def show_anew(context: ssl.SSLContext, certfile: str, keyfile: str | None) -> None:
    """Show what these files have now, from the next connection of ``context`` on.

    The key must be of the same kind: OpenSSL keeps a certificate for each, and goes on with the one that it liked better.

    :raises click.UsageError: the files do not fit each other; what was shown before is shown then.
    """
    _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), certfile, keyfile)  # half of a pair would stay
    _load(context, certfile, keyfile)


class DoorContexts(NamedTuple):
    """What the doors of a gateway need that speak TLS, and its admin address."""

    plain: ssl.SSLContext
    """Where it does not matter what callers speak above it."""
    http: ssl.SSLContext
    """Where it has to be HTTP/1.1."""
    admin: ssl.SSLContext
    """The same, of the admin address."""


def door_contexts(certfile: str, keyfile: str | None) -> DoorContexts:
    """With this certificate.

    :raises click.UsageError: if the files do not fit each other.
    """
    made = DoorContexts(*(_trusting(ssl.Purpose.CLIENT_AUTH, None) for _ in range(3)))
    for context in made:
        _load(context, certfile, keyfile, "door-")
    for context in made[1:]:
        context.set_alpn_protocols(["http/1.1"])
    return made


def _wanted(url: str, *files: str | None) -> bool:
    if scheme_of(url).has_tls:
        return True
    if any(files):
        raise click.UsageError(f"--ssl-* options need a tls:// URL, not {url}")
    return False


def _trusting(purpose: ssl.Purpose, ca_certs: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(purpose, cafile=ca_certs)
    except (OSError, ssl.SSLError) as exc:
        raise click.UsageError(f"cannot use --ssl-ca-certs {ca_certs}: {exc}") from exc


def _load(context: ssl.SSLContext, certfile: str, keyfile: str | None, of: str = "ssl-") -> None:
    # Never None: OpenSSL would then ask on the terminal and hang a service without one.
    password = os.environ.get(PASSWORD_VARIABLE, "")
    try:
        context.load_cert_chain(certfile, keyfile, password)
    except (OSError, ssl.SSLError) as exc:
        raise click.UsageError(
            f"cannot use --{of}certfile {certfile} with --{of}keyfile {keyfile or certfile}: "
            f"{exc}. The key's password, if it has one, is read from {PASSWORD_VARIABLE}."
        ) from exc
