"""Prepared: a request that came whole and is like any other, with the stream that it goes on.

What it is.  What is to be found out before an agent gets it: where its head ends and what that says, where the request goes, and
whether all of its body is there.

The rule.  Nothing is refused here, and nobody told: who gets None has it done where there is a task, by the rules of
:mod:`.conversation`.

The trap.  What is given back has an open stream, which nothing was sent on yet: whoever has it ends it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .asked import Asked
from .fields import BadMessage
from .requests import head_end, read_request
from .uploads import whole_body

if TYPE_CHECKING:
    from .fronts import Source
    from .host import Host

__all__ = ("prepare",)


def prepare(said: bytes, host: Host, source: Source) -> tuple[Asked, bytes] | None:
    """The request that ``said`` begins with, and what is behind it; None, if that is not whole, or unusual, or to be refused.

    :param source: where it came from.
    """
    try:
        end = head_end(said)
        request = read_request(said[:end]) if end else None
        if request is None or request.expects or request.wants_websocket:
            return None
        destination = host.routes.find(host.routes.name(request.host))
        body, rest = b"", said[end:]
        if request.length or request.is_chunked:
            body, rest = whole_body(request, rest, host.limits)
        source = host.fronts.asker(source, request)
        if host.rates.wait(source.client, destination.name):
            return None
        for_agent = request.for_agent(source.client, source.scheme) + body
        passage = destination.dial((), source.introduction)
        host.rates.count(source.client, destination.name)
    except (BadMessage, EOFError, ConnectionRefusedError):
        return None
    return Asked(request, source, destination, passage, for_agent, host.kept), rest
