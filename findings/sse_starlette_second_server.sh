#!/bin/bash
# sse-starlette 3.7.0 under uvicorn 0.54.0: the first server of a process that is told to stop ends the
# event streams of every later server in that process, at once and for good.
#
# Why a user cares: a test suite, a notebook or a supervisor that runs uvicorn.Server twice in one process
# (a reload by hand, one server per tenant) gets empty, well-formed event streams from the second on: no error.
# Behaviour: importing sse_starlette replaces uvicorn.Server.handle_exit by a function that sets the class
# attribute AppStatus.should_exit; nothing sets it back. Valid input only: SIGTERM's handler, called as uvicorn does.
# Output seen: "first server: 5 events" / "second server: 0 events" (0 or 1 at most; the endpoint would send 5).
# Fails (exit 1) if the second server sends all of its events.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q sse-starlette==3.7.0 uvicorn==0.54.0 starlette==1.10.0
cat > "$folder/twice.py" <<'P'
import asyncio, signal, socket, threading, time, urllib.request
from importlib.metadata import version
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route
from sse_starlette.sse import EventSourceResponse

async def events(request):
    async def five():
        for number in range(5):
            yield {"data": str(number)}
            await asyncio.sleep(0.4)
    return EventSourceResponse(five())

app = Starlette(routes=[Route("/", events)])

def run_and_count():
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        text = urllib.request.urlopen(f"http://127.0.0.1:{listener.getsockname()[1]}/").read()
    except Exception as exc:  # a stream that breaks off
        text = getattr(exc, "partial", b"")
    server.handle_exit(signal.SIGTERM, None)
    thread.join()
    return text.count(b"data:")

print("sse-starlette", version("sse-starlette"), "uvicorn", version("uvicorn"))
first, second = run_and_count(), run_and_count()
print("first server:", first, "events\nsecond server:", second, "events")
raise SystemExit(0 if first == 5 and second < 5 else 1)
P
"$folder/venv/bin/python" "$folder/twice.py"
