"""The demo's gateway process: it accepts the agent's session and makes HTTP calls over it.

What it is.  The accepting side as a user would write it (``listen``, ``httpx_client``), moved by
the parent: ``measure`` times requests, alone or beside a download; ``call`` starts calls that will
be cut off, and ``verdicts`` says how each of them ended and whether it is safe to make again.

Why it makes the calls itself.  The session is here, and so are its errors with their verdicts.  What
is timed is a whole HTTP request: from before httpx is called to after the answer has been read.

The rule.  Requests leave on a timetable, whether or not the one before has been answered.  If the
next waited for the last, a slow phase would simply be asked less often and look better than it is.

The traps.  Orders are obeyed in tasks, so that the end of stdin is noticed while one takes its time.
A download needs a moment until it fills the link and every buffer on the way; what is
timed before that is neither idle nor busy.
"""

from __future__ import annotations

import json
import ssl
import sys
from typing import Any

import anyio

import muxado_py as muxado

from .puppet import orders, report

__all__ = ("main",)

REQUESTS_PER_SECOND = 40
FILL_TIME = 2.0
TIMEOUT = 30.0

INTERACTIVE = muxado.Priority(urgency=1)
BULK = muxado.Priority(urgency=6)


class _Bulk:
    """A download that does not end, and how much of it has come."""

    def __init__(self) -> None:
        self.received = 0

    async def run(self, session: muxado.Session) -> None:
        async with (
            muxado.httpx_client(session, priority=BULK, timeout=TIMEOUT) as client,
            client.stream("GET", "http://agent/bulk") as response,
        ):
            async for chunk in response.aiter_raw():
                self.received += len(chunk)


async def _measure(session: muxado.Session, seconds: float, beside_bulk: bool) -> None:
    """Report the latency in seconds of each request, why others failed, and the bulk rate."""
    latencies: list[float] = []
    failures: list[str] = []

    async def request(client: Any) -> None:
        begin = anyio.current_time()
        try:
            response = await client.get("http://agent/ping")
            response.raise_for_status()
        except Exception as exc:  # noqa: BLE001 - whatever it is, it counts as a failed request
            failures.append(repr(exc))
        else:
            latencies.append(anyio.current_time() - begin)

    bulk = _Bulk()
    async with (
        muxado.httpx_client(session, priority=INTERACTIVE, timeout=TIMEOUT) as client,
        anyio.create_task_group() as download,
    ):
        await request(client)
        latencies.clear()  # the first one pays for imports and the connection pool
        if beside_bulk:
            download.start_soon(bulk.run, session)
            await anyio.sleep(FILL_TIME)
        begin, before = anyio.current_time(), bulk.received
        async with anyio.create_task_group() as requests:
            for number in range(round(seconds * REQUESTS_PER_SECOND)):
                await anyio.sleep_until(begin + number / REQUESTS_PER_SECOND)
                requests.start_soon(request, client)
        rate = (bulk.received - before) / (anyio.current_time() - begin)
        download.cancel_scope.cancel()
    report(latencies=latencies, failures=failures, bulk_rate=rate)


class _Calls:
    """Calls that are open when the connection is cut."""

    def __init__(self, session: muxado.Session) -> None:
        self._client = muxado.httpx_client(session, priority=INTERACTIVE, timeout=TIMEOUT)
        self._begun: list[str] = []
        self._verdicts: dict[str, str] = {}
        self._done = anyio.Event()

    async def make(self, call: str, path: str, body: int) -> None:
        """One call; with ``body`` bytes to upload if there are any."""
        self._begun.append(call)
        url = f"http://agent{path}?id={call}"
        try:
            await self._client.post(url, content=bytes(body))
        except Exception as exc:  # noqa: BLE001 - the verdict is the point, whatever the error
            verdict = muxado.retry_verdict(exc)
        else:
            verdict = muxado.Retry.PROCESSED
        self._verdicts[call] = verdict.name
        if len(self._verdicts) == len(self._begun):
            self._done.set()

    async def report_verdicts(self) -> None:
        """Report how each ended, once all have."""
        await self._done.wait()
        report(verdicts=self._verdicts)


async def _gateway(certfile: str, keyfile: str, config: dict[str, Any]) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certfile, keyfile)

    async def obey(session: muxado.Session) -> None:
        calls = _Calls(session)
        async for order in orders():
            match order["do"]:
                case "measure":
                    tasks.start_soon(_measure, session, order["seconds"], order["beside_bulk"])
                case "call":
                    for call in order["calls"]:
                        tasks.start_soon(calls.make, call, order["path"], order["body"])
                    report(called=order["calls"])
                case "verdicts":
                    tasks.start_soon(calls.report_verdicts)
        tasks.cancel_scope.cancel()

    async with (
        muxado.listen(
            "tls://127.0.0.1:0", config=muxado.Config(**config), ssl_context=context
        ) as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, obey)
        report(port=int(listener.url.rpartition(":")[2]))


def main(argv: list[str]) -> None:
    """``gateway CERTIFICATE_FILE KEY_FILE CONFIG_AS_JSON``."""
    anyio.run(_gateway, argv[0], argv[1], json.loads(argv[2]))


if __name__ == "__main__":
    main(sys.argv[1:])
