"""Guard: who may serve what, by the token and the certificate that an agent shows.

What it is.  What stands between a registration and the names in it, where a gateway has a token file, or keys of JWT, or asks for
certificates.  It says why not, in words that are for the agent and for the log, and gives an agent the permit of its token.

The rules.  Each registration is judged, by what the files said when they were last read, and nothing else that an agent says
is believed.  Who must show a token and a certificate serves what both are for.  Where there are tokens, an agent without one
serves nothing, doors without a name neither.  A ``*`` stands for no reserved name (:mod:`..trust.names`).  What is revoked
(:mod:`..trust.revoked`) is for nothing.

The trap.  The token is in the registration: neither of the two is ever part of a message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...runtime.extras import require
from ..trust.names import RESERVED
from ..trust.revoked import Revoked, read_revoked
from ..trust.tokens import Tokens, read_tokens

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from ..trust.jwt_keys import JwtKeys
    from ..trust.permits import Permit
    from .agent import Agent
    from .registration import Registration

__all__ = ("Guard",)

MAX_SHOWN = 16
"""Patterns that a message names: a thousand of a certificate would not go into a line."""


class Guard:
    """Who may serve what, by the tokens in one file, by those that the keys in another have signed, and by certificates.

    :param token_file: see :mod:`..trust.tokens`.
    :param key_file: see :mod:`..trust.jwt_keys`; with neither, no token is wanted.
    :param by_certificate: whether names must stand in the certificate, see :mod:`..trust.certified`.
    :param revoked_file: see :mod:`..trust.revoked`.
    :param reserved: the names that must be listed themselves, see :mod:`..trust.names`.
    :raises TokenFileError: if one cannot be used.
    :raises MissingExtraError: if JWT are to be read, and nothing that reads them is installed.
    """

    def __init__(
        self,
        token_file: Path | None = None,
        key_file: Path | None = None,
        *,
        by_certificate: bool = False,
        revoked_file: Path | None = None,
        reserved: Collection[str] = RESERVED,
    ) -> None:
        self._reserved = reserved
        self._by_certificate = by_certificate
        self._revoked_file = revoked_file
        self._revoked = Revoked()
        self._token_file = token_file
        self._key_file = key_file
        self._tokens = Tokens(())
        self._keys: JwtKeys | None = None
        self.reload()

    @property
    def what(self) -> str:
        """What of its files says, in words; empty if it has none."""
        if self._token_file is not None or self._key_file is not None:
            return "tokens"
        return "" if self._revoked_file is None else "revoked certificates"

    def reload(self) -> None:
        """Judge by what the files say now.

        :raises TokenFileError: if one cannot be used; what all said before holds then.
        """
        tokens = Tokens(()) if self._token_file is None else read_tokens(self._token_file)
        keys = None if self._key_file is None else _read_keys(self._key_file)
        revoked = Revoked() if self._revoked_file is None else read_revoked(self._revoked_file)
        self._tokens, self._keys, self._revoked = tokens, keys, revoked

    def may_register(self, agent: Agent, registration: Registration) -> str | None:
        """Why ``agent`` may not serve what it wants to; None if it may, and has its token's permit then."""
        return self._judge(agent, registration, ends=True)

    def may_stay(self, agent: Agent, registration: Registration) -> str | None:
        """Why ``agent`` may not serve any more what it was let in for; that the time of its token is over is no reason."""
        if agent.is_gateway:
            return self.may_hop(agent)
        return self._judge(agent, registration, ends=False)

    def may_hop(self, agent: Agent) -> str | None:
        """Why another gateway may not lead callers here, which shows the token of the cluster; None if it may."""
        return self._revocation(agent)

    def _judge(self, agent: Agent, registration: Registration, *, ends: bool) -> str | None:
        wants_token = self._token_file is not None or self._key_file is not None
        if wants_token and registration.token is None:
            return "this gateway wants a token (--token-file, or MUXADO_TOKEN)"
        refusal = self._judge_certificate(agent, registration)
        if refusal is None and wants_token:
            refusal = self._judge_token(agent, registration, ends=ends)
        return refusal

    def _judge_certificate(self, agent: Agent, registration: Registration) -> str | None:
        if agent.certificate is None:
            wanted = "this gateway wants a certificate (--ssl-certfile)"
            return wanted if self._by_certificate else None
        if (revocation := self._revocation(agent)) is not None:
            return revocation
        permit = agent.certificate.permit
        name = f"the certificate {permit.name}".rstrip()
        what = self._refused(permit, registration) if self._by_certificate else ""
        if not what:
            return None
        if not permit.patterns:
            return f"{name} has no names (muxado certs --names), and is not for {what}"
        return f"{name} is for {_shown(permit.patterns)} and not for {what}"

    def _revocation(self, agent: Agent) -> str | None:
        """That its certificate is revoked, if it is."""
        shown = agent.certificate
        if shown is None or shown.serial not in self._revoked.serials:
            return None
        return f"{f'the certificate {shown.permit.name}'.rstrip()} is revoked"

    def _judge_token(self, agent: Agent, registration: Registration, *, ends: bool) -> str | None:
        assert registration.token is not None
        try:
            permit = self._find(registration.token, ends)
        except PermissionError as exc:
            return str(exc)
        if permit is None:
            return "the token that it shows is not known here"
        if permit.id in self._revoked.ids:
            return f"the token {permit.name} is revoked"
        what = self._refused(permit, registration)
        if what:
            return f"the token {permit.name} is for {_shown(permit.patterns)} and not for {what}"
        agent.permit = permit
        return None

    def _refused(self, permit: Permit, registration: Registration) -> str:
        """What of a registration is not permitted, in words; empty if all of it is."""
        refused = [name for name in registration.names or ("",) if not permit.allows(name)]
        if refused:
            return ", ".join(refused) or "doors without a name (muxado serve --name)"
        reserved = [one for one in registration.names if one in self._reserved]
        unlisted = [name for name in reserved if name not in permit.patterns]
        return f"{', '.join(unlisted)}: it must list a reserved name itself" if unlisted else ""

    def _find(self, token: str, ends: bool) -> Permit | None:
        found = self._tokens.find(token)
        if found is None and self._keys is not None:
            found = self._keys.find(token, ends=ends)
        return found


def _shown(patterns: Sequence[str]) -> str:
    """As many as a line of the log, and of the exchange, has room for."""
    more = len(patterns) - MAX_SHOWN
    return ", ".join(patterns[:MAX_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _read_keys(path: Path) -> JwtKeys:
    for library in ("jwt", "cryptography"):
        require(library, "jwt")
    from ..trust.jwt_keys import read_keys

    return read_keys(path)
