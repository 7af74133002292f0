"""Spans around calls, of one trace on both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import muxado_py as muxado

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..conftest import SessionPair

pytestmark = pytest.mark.anyio


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Those that have ended."""
    exporter = InMemorySpanExporter()
    provider: Any = TracerProvider()  # not all of it has types in every version
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    yield exporter
    provider.shutdown()


async def answer(request: muxado.CallRequest) -> bytes:
    if request.payload == b"secret":
        raise muxado.CallError(muxado.CallStatus.NOT_FOUND, "no such secret")
    return b" ".join(sorted(key.encode() for key in request.metadata))


async def test_both_sides_are_in_one_trace(
    session_pair: SessionPair, spans: InMemorySpanExporter
) -> None:
    async with session_pair() as (dialed, accepted), anyio.create_task_group() as tasks:
        handler = muxado.traced_handler(answer, "answering")
        tasks.start_soon(muxado.serve_calls, accepted.net_listener(), handler)
        caller = muxado.Caller(dialed)
        said = await muxado.traced_call(caller, "asking", b"?", metadata={"own": b"1"})
        assert said == b"own traceparent"
        with pytest.raises(muxado.CallError):
            await muxado.traced_call(caller, "asking", b"secret")
        tasks.cancel_scope.cancel()
    served, called, failed_serving, failed = spans.get_finished_spans()
    assert (called.name, called.kind) == ("asking", SpanKind.CLIENT)
    assert (served.name, served.kind) == ("answering", SpanKind.SERVER)
    assert served.parent is not None
    assert served.parent.span_id == called.context.span_id
    assert served.context.trace_id == called.context.trace_id
    assert called.status.is_ok
    for one in (failed, failed_serving):
        assert one.status.status_code is StatusCode.ERROR
        assert one.attributes is not None
        assert one.attributes["rpc.status_code"] == 5
        assert "secret" not in one.to_json()
    assert failed.attributes is not None
    assert failed.attributes["muxado.retry"] == "processed"


@pytest.mark.parametrize(
    ("size", "keys"),
    [(3000, b"own traceparent tracestate"), (3940, b"own traceparent"), (4026, b"own")],
)
async def test_a_trace_takes_only_the_room_that_the_callers_metadata_leaves(
    session_pair: SessionPair, spans: InMemorySpanExporter, size: int, keys: bytes
) -> None:
    state = trace.TraceState([("vendor", "x" * 200)])
    above = trace.SpanContext(1, 2, is_remote=True, trace_state=state)
    async with session_pair() as (dialed, accepted), anyio.create_task_group() as tasks:
        tasks.start_soon(muxado.serve_calls, accepted.net_listener(), answer)
        token = context.attach(trace.set_span_in_context(trace.NonRecordingSpan(above)))
        try:
            said = await muxado.traced_call(
                muxado.Caller(dialed), "asking", b"?", metadata={"own": bytes(size)}
            )
        finally:
            context.detach(token)
        assert said == keys
        tasks.cancel_scope.cancel()


async def test_a_peer_that_takes_no_metadata_is_called_without(
    session_pair: SessionPair, spans: InMemorySpanExporter
) -> None:
    config = muxado.Config(wire="yamux")
    async with session_pair(config) as (dialed, accepted), anyio.create_task_group() as tasks:
        tasks.start_soon(muxado.serve_calls, accepted.net_listener(), answer)
        caller = muxado.Caller(dialed)
        assert await muxado.traced_call(caller, "asking", b"?") == b""
        with pytest.raises(NotImplementedError):
            await muxado.traced_call(caller, "asking", b"?", metadata={"own": b"1"})
        tasks.cancel_scope.cancel()


async def test_a_trace_with_too_much_baggage_leaves_it_behind(
    session_pair: SessionPair, spans: InMemorySpanExporter
) -> None:
    async with session_pair() as (dialed, accepted), anyio.create_task_group() as tasks:
        tasks.start_soon(muxado.serve_calls, accepted.net_listener(), answer)
        caller = muxado.Caller(dialed)
        answers = []
        for size in (10, 5000):
            token = context.attach(baggage.set_baggage("load", "x" * size))
            try:
                answers.append(await muxado.traced_call(caller, "asking", b"?"))
            finally:
                context.detach(token)
        tasks.cancel_scope.cancel()
    assert answers == [b"baggage traceparent", b"traceparent"]
