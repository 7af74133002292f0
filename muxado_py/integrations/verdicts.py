"""Verdicts: what an HTTP client's exception says of sending the request again.

The rule.  An exception of a library is raised from ours, or has it as its argument; so the verdict is found by following
causes, and never contexts.

The trap.  What the source of a body raises may be an error of ours as well, of another call: it says nothing of the request that
was under way.  So whoever sends the request marks it, and the mark goes before all verdicts.
"""

from __future__ import annotations

from ..errors import ErrorCode, MuxadoError, PoolTimeoutError, Retry, StreamLimitError

__all__ = ("error_behind", "mark", "retry_verdict", "waited_in_vain")

MARK = "_muxado_verdict"
"""The attribute of an exception that has the verdict of the request it ended."""


def retry_verdict(error: BaseException) -> Retry:
    """May the call that raised ``error`` be made again?

    Follows ``__cause__``, or an exception that is among the error's arguments, to the first
    :class:`MuxadoError`.  Not ``__context__``: an error raised while an earlier one was being
    handled has that as its context, and the earlier one's "never sent" says nothing about the
    second attempt.

    :returns: that error's verdict; ``Retry.UNKNOWN`` if there is none.  Where what gave the body of the request failed, that
        of the request, whatever its error says of another call.
    """
    link: BaseException | None = error
    while link is not None:
        verdict: Retry | None = getattr(link, MARK, None)
        if verdict is not None:
            return verdict
        if isinstance(link, MuxadoError):
            return link.retry
        link = link.__cause__ or _wrapped(link)
    return Retry.UNKNOWN


def mark(error: BaseException, verdict: Retry) -> None:
    """What gave the body of a request raised ``error``: the request ended with it, and has this verdict."""
    setattr(error, MARK, verdict)


def error_behind(error: BaseException) -> MuxadoError | None:
    """The error of this package that ``error`` was raised from, or is."""
    link: BaseException | None = error
    while link is not None and not isinstance(link, MuxadoError):
        link = link.__cause__ or _wrapped(link)
    return link


def waited_in_vain(error: BaseException) -> bool:
    """Whether no stream could be opened for want of a session or a slot, though that was waited for."""
    if isinstance(error, StreamLimitError):
        return error.code == ErrorCode.STREAM_REFUSED
    return isinstance(error, PoolTimeoutError)


def _wrapped(error: BaseException) -> BaseException | None:
    return next((one for one in error.args if isinstance(one, BaseException)), None)
