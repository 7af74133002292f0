"""Page: what a person sees of a gateway in a browser, at its admin address.

What it is.  ``/``: one document, ``page.html`` beside this module, with its style and its script in it.  ``/page.json``: what
the script shows, and asks for each second.

Where data comes from.  All of it is asked when somebody looks: of the agents, and of what :mod:`..callers.latest` keeps.

The rules.  There are at most :data:`MAX_ROWS` of anything, with the number of all; what is in trouble comes first.  Nothing
that a peer said is made a part of the document here: it goes as JSON, and the script writes it as text.

The trap.  The browser runs the script and the style by their hashes and nothing else, so each must be the only one of its
kind in the document, and no element of it may have an attribute ``style`` or ``onclick``.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ...errors import escaped
from ..callers.latest import read_line
from ..options import Address
from .admin import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import anyio

    from ..agents.agent import Agent
    from ..agents.agents import Agents
    from ..callers.latest import Asked, Latest, Seen
    from ..options import Published, UnixAddress

__all__ = ("Page",)

MAX_ROWS = 100
"""Of agents, names or callers."""

MAX_NAMES = 8
"""Names of one agent that are shown, and doors of one name."""

DOCUMENT = files(__package__).joinpath("page.html").read_text("utf-8")


class Page:
    """The page of one gateway.

    :param url: where agents connect.
    :param is_alone: whether no other gateway may have agents that serve the names, too.
    """

    def __init__(
        self,
        url: str,
        agents: Agents,
        latest: Latest,
        doors: Sequence[Published],
        stop: anyio.Event,
        *,
        is_alone: bool = True,
    ) -> None:
        self._url = url
        self._is_alone = is_alone
        self._agents = agents
        self._latest = latest
        self._doors = doors
        self._stop = stop
        self._since = latest.now()
        script, style = _hash_of("script"), _hash_of("style")
        self._document = Answer(
            200,
            DOCUMENT.encode(),
            "text/html; charset=utf-8",
            f"; script-src {script}; style-src {style}; img-src data:; connect-src 'self'"
            "; require-trusted-types-for 'script'; trusted-types 'none'",
        )

    def answers(self) -> dict[str, Callable[[Mapping[str, str]], Answer]]:
        """What is answered, by path."""
        return {"/": lambda asked: self._document, "/page.json": self.data}

    def data(self, asked: Mapping[str, str]) -> Answer:
        """What is shown now."""
        return Answer(200, json.dumps(self.values()).encode(), "application/json")

    def values(self) -> dict[str, Any]:
        """What ``/page.json`` says."""
        agents = self._agents.connected()
        agents.reverse()  # the newest first
        agents.sort(key=lambda one: not one[0].is_suspect)
        names = [(name, its) for name, its in self._agents.serving() if its or self._doors_of(name)]
        names.sort(key=lambda one: bool(one[1]))
        callers = list(self._latest.callers.items())
        return {
            "now": self._latest.now(),
            "since": self._since,
            "serving": not self._stop.is_set(),
            "alone": self._is_alone,
            "listen": self._url,
            "doors": [_door(one) for one in self._doors[:MAX_NAMES]],
            "agents": _some(agents, _agent),
            "names": _some(names, self._name),
            "callers": _some(callers, _caller),
            "requests": [_request(one) for one in reversed(self._latest.requests)],
        }

    def _name(self, one: tuple[str, list[Agent]]) -> dict[str, Any]:
        name, agents = one
        return {
            "name": name,
            "agents": len(agents),
            "callers": sum(len(agent.passages) for agent in agents),
            "doors": self._doors_of(name)[:MAX_NAMES],
        }

    def _doors_of(self, name: str) -> list[str]:
        """Where callers of ``name`` come in."""
        found = [str(one.address) for one in self._doors if (one.name or "") == name]
        if name:
            found += [
                _host(one.name.replace("*", name), one.address)
                for one in self._doors
                if one.name is not None and one.name.startswith("*.")
            ]
        return found


def _host(host: str, address: Address | UnixAddress) -> str:
    if isinstance(address, Address):
        return f"{'https://' if address.tls else ''}{host}:{address.port}"
    return f"{host} at {address}"


def _hash_of(element: str) -> str:
    _, _, rest = DOCUMENT.partition(f"<{element}>")
    content = rest.partition(f"</{element}>")[0]
    digest = b64encode(hashlib.sha256(content.encode()).digest())
    return f"'sha256-{digest.decode()}'"


def _some(rows: Sequence[Any], shown: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    return {"count": len(rows), "rows": [shown(row) for row in rows[:MAX_ROWS]]}


def _door(one: Published) -> dict[str, Any]:
    return {"address": str(one.address), "name": one.name}


def _agent(one: tuple[Agent, list[str]]) -> dict[str, Any]:
    agent, names = one
    holder = agent.holder
    return {
        "peer": agent.address,
        "holder": None if holder is None else escaped(holder),
        "names": names[:MAX_NAMES],
        "more_names": max(0, len(names) - MAX_NAMES),
        "callers": len(agent.passages),
        "since": agent.since,
        "round_trip": agent.session.statistics().round_trip,
        "suspect": agent.is_suspect,
    }


def _caller(one: tuple[Seen, float]) -> dict[str, Any]:
    caller, since = one
    method, path = read_line(caller.line)
    return {
        "client": caller.client,
        "name": caller.name,
        "agent": caller.agent,
        "method": method,
        "path": path,
        "since": since,
    }


def _request(one: Asked) -> dict[str, Any]:
    method, path = read_line(one.line)
    return {
        "number": one.number,
        "time": one.time,
        "client": one.client,
        "name": one.name,
        "agent": one.agent,
        "method": method,
        "path": path,
        "status": one.status,
        "end": one.end,
        "seconds": one.seconds,
    }
