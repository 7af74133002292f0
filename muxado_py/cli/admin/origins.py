"""Origins: whether a request at the admin address comes from whoever sits at this machine, or from some web page.

What it is.  A browser asks whatever a page tells it to ask, also of this machine.  Three things give that away: the Host,
which is the page's own where its name was made to lead here (DNS rebinding); the Origin of what a script asks; and what
the browser says of the page that asks (``Sec-Fetch-Site``).

The rules.  Host is a number, localhost, or what the address was called when it was opened: of these no stranger is the
owner.  Who must show a token may call it anything: no page has one that a browser has for another name.  An Origin is that of the Host, or refused.  Another site, or another port, may lead a person here by a link, and may
do nothing else: no script, image or frame of it.

The trap.  What is no browser says none of it but Host, and old ones no ``Sec-Fetch-Site``: what is missing refuses nobody.
"""

from __future__ import annotations

import ipaddress

__all__ = ("refusal",)


def refusal(head: bytes, host: str | None) -> str | None:
    """Why what asks with ``head`` is told nothing; None if it may ask.

    :param host: what the address is called; empty: nothing but what all of this machine are; None: whatever somebody calls it.
    """
    fields = _read(head)
    hosts = fields.get("host", [])
    if host is not None and not all(_is_here(one, host.lower()) for one in hosts):
        return "the Host of a request must be this machine's"
    if not all(one.partition("://")[2] in hosts for one in fields.get("origin", [])):
        return "a page of another origin may not ask"
    if not set(fields.get("sec-fetch-site", [])) <= {"same-origin", "none"} and not (
        fields.get("sec-fetch-mode") == ["navigate"]
        and fields.get("sec-fetch-dest") == ["document"]
    ):
        return "a page of another origin may lead here, and not ask"
    return None


def _read(head: bytes) -> dict[str, list[str]]:
    """The values of each field, by its name, all in lower case."""
    found: dict[str, list[str]] = {}
    for line in head.partition(b"\r\n")[2].split(b"\r\n"):
        name, _, value = line.decode("latin-1").lower().partition(":")
        found.setdefault(name, []).append(value.strip())
    return found


def _is_here(said: str, host: str) -> bool:
    if not said:  # as of who has none to say
        return True
    name = said.rpartition("]")[0][1:] if said.startswith("[") else said.partition(":")[0]
    if name and name in ("localhost", host):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
