"""Guard: who may serve what, by the token that an agent shows when it registers.

What it is.  What stands between a registration and the names in it, where a gateway has a token file.  It says why not,
in words that are for the agent and for the log, and gives an agent the name of its token.

The rules.  Each registration is judged, by what the file said when it was last read, and nothing else that an agent says
is believed.  Without a token an agent serves nothing, doors without a name neither.

The trap.  The token is in the registration: neither of the two is ever part of a message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .tokens import read_tokens

if TYPE_CHECKING:
    from pathlib import Path

    from .agent import Agent
    from .registration import Registration

__all__ = ("Guard",)


class Guard:
    """Who may serve what, by the file at ``path``.

    :raises TokenFileError: if it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tokens = read_tokens(path)

    def may_register(self, agent: Agent, registration: Registration) -> str | None:
        """Why ``agent`` may not serve what it wants to; None if it may, and is called by its token's name then."""
        if registration.token is None:
            return "this gateway wants a token (muxado serve --token-file, or MUXADO_TOKEN)"
        line = self._tokens.find(registration.token)
        if line is None:
            return "the token that it shows is not known here"
        refused = [name for name in registration.names or ("",) if not line.allows(name)]
        if refused:
            what = ", ".join(refused) or "doors without a name"
            return f"the token {line.name} is for {', '.join(line.patterns)} and not for {what}"
        agent.holder = line.name
        return None

    def reload(self) -> None:
        """Judge by what the file says now.

        :raises TokenFileError: if it cannot be used; what it said before holds then.
        """
        self._tokens = read_tokens(self._path)
