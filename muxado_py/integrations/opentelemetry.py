"""Spans of OpenTelemetry around calls, and the trace that goes with them in their metadata.

What it is.  :func:`traced_call` makes a call inside a span of the kind CLIENT and says in its metadata to which trace that
belongs, as W3C's Trace Context has it (``traceparent``, ``tracestate``); :func:`traced_handler` gives each request a span of
the kind SERVER that continues that trace.

The rules.  Sight is never the reason of a failure: a peer that understands no metadata gets the call without, and of a trace
that says too much about itself for the metadata only :data:`ESSENTIAL` goes.  What a
handler raises, and what it is given, is not written into a span: texts have secrets in them.

The trap.  What comes in is a peer's word, and whoever calls may begin a trace of any name: a server that strangers call
takes its spans as a hint.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

from ..arguments import check_able, check_function
from ..errors import MuxadoError
from ..runtime.extras import require
from ..service.call_errors import CallError
from ..service.call_frames import check_call

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from ..service.call_server import CallRequest
    from ..service.calls import Caller
    from ..service.pool_calls import PoolCalls

__all__ = ("traced_call", "traced_handler")

SYSTEM = "muxado_py"
"""The attribute ``rpc.system`` of the spans, and the name of the tracer."""


ESSENTIAL = "traceparent"
"""W3C Trace Context, section 3.2: 55 characters."""

MAX_TRACE = 1024
"""Characters of all that is said of a trace; with baggage it has no bound, and metadata has 4 KiB."""


async def traced_call(
    calls: Caller | PoolCalls,
    name: str,
    payload: bytes,
    *,
    metadata: Mapping[str, bytes] | None = None,
    **options: Any,
) -> bytes:
    """``calls.call(payload, ...)`` in a span, whose trace the other side can continue.

    :param calls: a :class:`~muxado_py.Pool`, or a :class:`~muxado_py.Caller`.
    :param name: of the span: what is called, and nothing of what it is called with.
    :param payload: as for :meth:`.Caller.call`, as all that follows.
    :param metadata: likewise; the trace comes on top.
    :param options: likewise.
    :raises TypeError: if ``calls`` makes none.
    :raises MuxadoError: as :meth:`.Caller.call`; the span has the status ERROR, and the verdict as ``muxado.retry``.
    :raises MissingExtraError: if ``opentelemetry-api`` is not installed (extra ``otel``).

    Cancellation: as of :meth:`.Caller.call`.
    """
    check_able("calls", calls, "a Pool, or a Caller", "call")
    trace, propagate = _api()
    tracer = trace.get_tracer(SYSTEM)
    kind = trace.SpanKind.CLIENT
    with tracer.start_as_current_span(
        name, kind=kind, record_exception=False, set_status_on_exception=False
    ) as span:
        span.set_attribute("rpc.system", SYSTEM)
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        said = _with_trace(metadata, carrier)
        try:
            try:
                return await calls.call(payload, metadata=said, **options)
            except NotImplementedError:
                if metadata:
                    raise
                # The peer understands no metadata, and nothing was sent.
                return await calls.call(payload, **options)
        except MuxadoError as exc:
            span.set_attribute("muxado.retry", exc.retry.value)
            if isinstance(exc, CallError):
                span.set_attribute("rpc.status_code", exc.status)
            span.set_status(trace.StatusCode.ERROR, type(exc).__name__)
            raise


def traced_handler(
    handler: Callable[[CallRequest], Awaitable[bytes]], name: str
) -> Callable[[CallRequest], Awaitable[bytes]]:
    """``handler`` for :func:`~muxado_py.serve_calls`, each request in a span of the trace that it came with.

    :param name: of the spans.
    :raises TypeError: if ``handler`` is no function.
    :raises MissingExtraError: if ``opentelemetry-api`` is not installed (extra ``otel``).
    """
    check_function("handler", handler)
    trace, propagate = _api()
    tracer = trace.get_tracer(SYSTEM)

    @wraps(handler)
    async def traced(request: CallRequest) -> bytes:
        carrier = {key: value.decode("ascii", "replace") for key, value in request.metadata.items()}
        with tracer.start_as_current_span(
            name,
            propagate.extract(carrier),
            kind=trace.SpanKind.SERVER,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            span.set_attribute("rpc.system", SYSTEM)
            try:
                return await handler(request)
            except Exception as exc:
                if isinstance(exc, CallError):
                    span.set_attribute("rpc.status_code", exc.status)
                span.set_status(trace.StatusCode.ERROR, type(exc).__name__)
                raise

    return traced


def _with_trace(
    metadata: Mapping[str, bytes] | None, carrier: Mapping[str, str]
) -> Mapping[str, bytes] | None:
    """``metadata``, and what a propagator has to say where there is room for both, or the essential part of that."""
    said = {key: value.encode() for key, value in carrier.items()}
    essential = {key: value for key, value in said.items() if key == ESSENTIAL}
    if sum(map(len, (*said, *said.values()))) > MAX_TRACE:
        said = essential
    for trace in (said, essential):
        try:
            both = {**trace, **(metadata or {})}
            check_call(None, both)
        except (TypeError, ValueError):
            continue
        return both
    return metadata  # with which there may be something wrong


def _api() -> tuple[Any, Any]:
    return require("opentelemetry.trace", "otel"), require("opentelemetry.propagate", "otel")
