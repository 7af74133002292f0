"""The frame log: what one side says it sent is what the other says it received, on every wire."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import create_task_group, fail_after

import muxado_py as muxado
from muxado_py import Config, ErrorCode, Priority
from muxado_py.frames import WIRES
from muxado_py.frames.muxado import Muxado
from muxado_py.protocol.connection import Connection

from .. import virtual_time
from ..by_url import TRANSPORTS, sessions_by_url
from ..check_byte_stream import receive_all, receive_exactly
from ..frames_seen import HELLO, data, goaway, rst
from ..helpers.pair import Pair, read_all
from ..scripted_peer import scripted
from ..transports import late_transports, memory_transports

if TYPE_CHECKING:
    from collections.abc import Iterable
    from logging import LogRecord

    from muxado_py import Session

    from ..conftest import SessionPair

wires = pytest.mark.parametrize("wire", WIRES)
Line = dict[str, Any]
OF_ALL = {"time", "process", "session", "direction"}
SECRET = b"the-secret-of-the-application"


def said(lines: Iterable[Line], direction: str) -> list[Line]:
    """What the frames of one direction say."""
    return [
        {key: one[key] for key in one if key not in OF_ALL}
        for one in lines
        if one.get("direction") == direction
    ]


def words(lines: Iterable[Line], direction: str) -> list[str]:
    """The names of the frames of one direction."""
    return [one["frame"] for one in said(lines, direction)]


def events(lines: Iterable[Line]) -> list[Line]:
    """The lines that are about the session."""
    return [one for one in lines if "event" in one]


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[LogRecord]:
    """What was said of frame logs; asyncio may warn too, of a machine that is slow."""
    return [one for one in caplog.records if one.name == "muxado.frames"]


def read(path: Path) -> list[Line]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# One side and the other, without IO.


class LoggedPair(Pair):
    """A pair whose sides both keep a log."""

    def __init__(self, config: Config, chunk: int = 0) -> None:
        super().__init__(config, chunk=chunk)
        self.logs: dict[Any, list[Line]] = {self.client: [], self.server: []}
        for side, log in self.logs.items():
            side.log_frames(log.append)

    def check(self) -> None:
        """What arrived is what was sent, in its order; all of it, unless a side was over before."""
        for side in (self.client, self.server):
            sent = said(self.logs[side], "sent")
            received = said(self.logs[self.other(side)], "received")
            assert received
            if self.other(side).events.failure is None:
                assert received == sent
            else:
                assert received == sent[: len(received)]


@pytest.mark.slow
@wires
@pytest.mark.parametrize("chunk", [0, 1, 7, 1000])
def test_what_one_sent_the_other_received(wire: str, chunk: int) -> None:
    pair = LoggedPair(Config(wire=wire, max_frame=20_000), chunk)
    near, far = pair.open(b"question")
    back, forth = pair.open(b"?", priority=Priority(2, 9), by=pair.server)
    body = bytes(200_000)
    pair.client.write(near, body)
    for _ in range(100):
        pair.run_until_idle()
        pair.now += 1.0
        for side in (pair.client, pair.server):
            side.timeouts.age_delays()
        read_all(pair.server, far)
    pair.client.set_priority(near, Priority(1, 1))
    pair.run_until_idle()
    pair.client.finish(near)
    pair.server.close(far)
    pair.client.reset(forth, ErrorCode.STREAM_CANCELLED)
    pair.client.ping(bytes(7) + b"\x05")
    pair.client.keep_alive()
    pair.run_until_idle()
    pair.server.close(back)
    for _ in range(3):
        pair.server.timeouts.age_delays()
        pair.run_until_idle()
    pair.check()
    sent = said(pair.logs[pair.client], "sent")
    of_near = [one for one in sent if one.get("stream") == near.id]
    assert of_near[0]["frame"] == "open"
    assert of_near[1] == {"frame": "data", "stream": near.id, "size": 8}
    assert sum(one["size"] for one in of_near if one["frame"] == "data") == 8 + len(body)
    assert of_near[-1]["frame"] == "fin"


@wires
def test_a_goodbye_is_the_last_that_both_say(wire: str) -> None:
    pair = LoggedPair(Config(wire=wire))
    near, far = pair.open(b"question")
    pair.client.go_away(ErrorCode.NO_ERROR, b"enough\x1b[31m")
    pair.server.close(far)
    pair.client.close(near)
    for _ in range(3):
        for side in (pair.client, pair.server):
            side.timeouts.age_delays()
        pair.run_until_idle()
    pair.check()
    goodbyes = [one for one in said(pair.logs[pair.client], "sent") if one["frame"] == "goaway"]
    if wire.startswith("smux"):
        assert not goodbyes
    else:
        assert goodbyes[0]["code"] == "NO_ERROR(0)"
        assert goodbyes[0]["text"] == (r"enough\x1b[31m" if wire == "muxado" else "")


def test_every_word_of_muxado() -> None:
    pair = LoggedPair(Config(max_streams=7, max_open_streams=100))
    near, far = pair.open(b"question", priority=Priority(1, 3))
    pair.client.write(near, b"!")
    pair.client.finish(near)
    pair.client.ping(bytes(7) + b"\x05")
    pair.client.set_priority(near, Priority(7, 256))
    pair.run_until_idle()
    pair.server.reset(far, ErrorCode.STREAM_CANCELLED)
    pair.run_until_idle()
    pair.client.go_away(ErrorCode.NO_ERROR, b"bye")
    pair.run_until_idle()
    settings = {
        "frame": "settings",
        "initial_window": 262144,
        "max_streams": 7,
        "session_window": 64 * 1024 * 1024,
    }
    sent = said(pair.logs[pair.client], "sent")
    goodbye = {"frame": "goaway", "last_stream": 0, "code": "NO_ERROR(0)"}
    assert sent == [
        {"frame": "hello"},
        {"frame": "open", "stream": 3},
        {"frame": "data", "stream": 3, "size": 8},
        settings,
        {"frame": "priority", "stream": 3, "urgency": 1, "weight": 3},
        {"frame": "session_credit", "total": 64 * 1024 * 1024},
        {"frame": "ping", "number": 5},
        {"frame": "priority", "stream": 3, "urgency": 7, "weight": 256},
        {"frame": "data", "stream": 3, "size": 1},
        {"frame": "fin", "stream": 3},
        {**goodbye, "text": "bye"},
        {"frame": "nop"},  # what stands behind a GOAWAY for Go's sake
        {**goodbye, "text": ""},  # in answer to the peer's
        {"frame": "nop"},
    ]
    answers = said(pair.logs[pair.server], "sent")
    assert {"frame": "pong", "number": 5} in answers
    assert {"frame": "reset", "stream": 3, "code": "STREAM_CANCELLED(6)"} in answers


def test_words_that_only_some_wires_have() -> None:
    lines = {}
    for wire in ("yamux", "smux2", "muxado1"):
        pair = LoggedPair(Config(wire=wire))
        typed = 9 if wire == "muxado1" else None
        _, far = pair.open(bytes(200_000), stream_type=typed)
        pair.server.timeouts.age_delays()
        read_all(pair.server, far)
        pair.client.keep_alive()
        pair.run_until_idle()
        pair.check()
        lines[wire] = [said(pair.logs[side], "sent") for side in (pair.client, pair.server)]
    assert {"frame": "ack", "stream": 1} in lines["yamux"][1]
    assert {"frame": "credit", "stream": 1, "size": 200_000} in lines["yamux"][1]
    assert {"frame": "nop"} in lines["smux2"][0]
    (update,) = [one for one in lines["smux2"][1] if one.get("consumed")]
    assert update == {"frame": "credit", "stream": 3, "consumed": 200_000, "window": 262144}
    assert lines["muxado1"][0][0] == {"frame": "open", "stream": 3, "type": 9}


def test_a_peer_that_is_no_muxado_py_says_no_hello() -> None:
    extended = Muxado.settings({3: 4096, 77: 5}) + Muxado.window(3, 500_000)
    for hello in (HELLO, b""):
        lines: list[Line] = []
        connection = Connection(Config(), client=False)
        connection.log_frames(lines.append)
        connection.receive_data(hello + data(3, syn=True) + extended)
        said_then = said(lines, "received")
        if hello:
            assert said_then == [
                {"frame": "hello"},
                {"frame": "open", "stream": 3},
                {"frame": "settings", "session_window": 4096, "77": 5},
                {"frame": "window", "stream": 3, "window": 500_000},
            ]
        else:
            assert said_then == [{"frame": "open", "stream": 3}, {"frame": "nop"}, {"frame": "nop"}]


@wires
def test_a_frame_is_one_line_in_however_many_pieces_it_comes(wire: str) -> None:
    pair = LoggedPair(Config(wire=wire), chunk=1)
    pair.open(bytes(3000))
    assert words(pair.logs[pair.server], "received").count("data") == 1


@wires
def test_a_refusal_is_seen_as_far_as_the_wire_says_it(wire: str) -> None:
    pair = LoggedPair(Config(wire=wire))
    pair.server.stop_accepting()
    near = pair.client.open(None, None)
    for _ in range(3):
        pair.run_until_idle()
        pair.server.timeouts.age_delays()
    pair.check()
    refusals = [one for one in said(pair.logs[pair.client], "received") if "code" in one]
    assert refusals == [{"frame": "reset", "stream": near.id, "code": "STREAM_REFUSED(5)"}]


BROKEN = {
    "muxado": ("00000030 00000000", "GOAWAY of 0 bytes"),
    "yamux": (
        "00000001 00000001 00000000 07000000 00000000 00000000",
        "a yamux frame of version 7",
    ),
    "smux1": ("01000000 03000000 09000000 00000000", "a header of version 9"),
    "smux2": ("02000000 03000000 0209ffff 00000000", "command 9"),
    "muxado1": ("00000001 00000003 0000001f 00000003", "a muxado1 frame of type 31"),
}


@wires
def test_bytes_that_are_refused_say_why(wire: str) -> None:
    pair = LoggedPair(Config(wire=wire))
    broken, why = BROKEN[wire]
    pair.server.receive_data(bytes.fromhex(broken if wire != "muxado" else HELLO.hex() + broken))
    pair.run_until_idle()
    received = said(pair.logs[pair.server], "received")
    assert received[-1]["frame"] == "violation"
    assert received[-1]["text"].startswith(why)
    assert received[-1]["code"].endswith(("PROTOCOL_ERROR(1)", "FRAME_SIZE_ERROR(8)"))


# Sessions.


async def exchange(one: Session, other: Session) -> None:
    """A question and its answer, and a stream that is reset."""
    near = await one.open_stream(priority=Priority(urgency=1))
    await near.send(SECRET)
    far = await other.accept_stream()
    assert await receive_exactly(far, len(SECRET)) == SECRET
    await far.send(SECRET * 5000)
    await far.aclose()
    assert await receive_all(near) == SECRET * 5000
    await near.aclose()
    near = await one.open_stream()
    await near.send(SECRET)
    (await other.accept_stream()).reset()
    with suppress(muxado.StreamError):  # a FIN, where there is no reset
        assert await receive_all(near) == b""
    await near.aclose()


def check_logs(near: list[Line], far: list[Line]) -> None:
    """The logs of two sessions with each other: one may have ended before all was received."""
    for one, other in ((near, far), (far, near)):
        sent, received = said(one, "sent"), said(other, "received")
        assert received
        assert received == sent[: len(received)]
        begin, end = events(one)
        assert one[0] is begin
        assert one[-1] is end
        assert all(line["session"] == begin["session"] for line in one)
        assert all(line["process"] == os.getpid() for line in one)
        times = [line["time"] for line in one]
        assert all(isinstance(time, float) for time in times)
    assert near[0]["session"] != far[0]["session"]


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize("carried_by", ["memory", "sockets"])
@wires
async def test_two_sessions_say_the_same(wire: str, session_pair: SessionPair) -> None:
    near: list[Line] = []
    far: list[Line] = []
    with fail_after(60):
        async with session_pair(
            Config(wire=wire, frame_log=near.append), Config(wire=wire, frame_log=far.append)
        ) as sessions:
            await exchange(*sessions)
    check_logs(near, far)
    assert [one["role"] for one in (near[0], far[0])] == ["client", "server"]
    assert near[0]["wire"] == far[0]["wire"] == wire
    closed = [one[-1]["text"] for one in (near, far) if not one[-1]["remote"]]
    assert set(closed) == {"you closed the session"}


@pytest.mark.anyio
@pytest.mark.parametrize("scheme", TRANSPORTS)
async def test_the_first_line_says_who_the_peer_is(scheme: str, tmp_path: Path) -> None:
    lines: list[Line] = []
    async with sessions_by_url(Config(frame_log=lines.append), scheme=scheme, folder=tmp_path) as (
        dialed,
        _,
    ):
        await dialed.wait_for_peer()
    begins = [one for one in lines if one.get("event") == "begin"]
    assert {one["role"] for one in begins} == {"client", "server"}
    peer = "a local peer" if scheme in ("unix", "exec") else "127.0.0.1:"
    assert all(one["peer"].startswith(peer) for one in begins)


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_wire_that_was_recognized_is_named_and_its_first_frames_are_there() -> None:
    lines: list[Line] = []
    near, far = memory_transports()
    async with (
        muxado.client(near, Config(wire="yamux")) as dialed,
        create_task_group() as tasks,
    ):
        tasks.start_soon(dialed.ping)
        async with muxado.server(far, Config(wire="auto", frame_log=lines.append)) as accepted:
            await accepted.wait_for_peer()
    assert lines[0]["wire"] == "yamux"
    assert words(lines, "received")[0] == "ping"


class TestInTime:
    """On a clock that jumps."""

    @pytest.fixture(params=virtual_time.BACKENDS)
    def anyio_backend(self, request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
        return virtual_time.backend(request.param)

    @pytest.mark.anyio
    @wires
    async def test_heartbeats_are_seen_where_they_are_due(self, wire: str) -> None:
        seen: dict[str, list[tuple[float, str]]] = {"sent": [], "received": []}

        def look(line: Line) -> None:
            if line.get("frame") in ("ping", "pong", "nop", "data"):
                seen[line["direction"]].append((anyio.current_time() - start, line["frame"]))

        near, far = late_transports(0.25)
        asked = wire in ("muxado", "yamux", "muxado1")  # on smux each side speaks unasked
        start = anyio.current_time()
        async with (
            muxado.client(near, Config(wire=wire, frame_log=look)),
            muxado.server(far, Config(wire=wire, heartbeat_interval=None if asked else 10.0)),
        ):
            await anyio.sleep(45)
            sent, received = (list(one) for one in seen.values())
        beat, answer = {"muxado1": ("data", "data")}.get(
            wire, ("ping", "pong") if asked else ("nop", "nop")
        )
        assert {frame for _, frame in sent} == {beat}
        assert {frame for _, frame in received} == {answer}
        assert len(sent) >= 3
        away = 0.5 if asked else 0.25
        times = [time for time, _ in received]
        assert times == pytest.approx([time + away for time, _ in sent])


@pytest.mark.slow
@pytest.mark.anyio
async def test_what_a_peer_says_is_escaped_and_named() -> None:
    lines: list[Line] = []
    async with scripted(Config(frame_log=lines.append)) as (session, peer):
        await peer.say(HELLO, data(2, b"abc", syn=True), rst(2, 5), rst(2, 4711))
        await peer.say(goaway(0, ErrorCode.INTERNAL_ERROR, b"\x1b[2J\nall is well\xff\xe2\x80\xae"))
        with pytest.raises(muxado.ProtocolError):
            await session.wait()
    received = said(lines, "received")
    assert received == [
        {"frame": "hello"},
        {"frame": "open", "stream": 2},
        {"frame": "data", "stream": 2, "size": 3},
        {"frame": "reset", "stream": 2, "code": "STREAM_REFUSED(5)"},
        {"frame": "reset", "stream": 2, "code": "unknown(4711)"},
        {
            "frame": "goaway",
            "last_stream": 0,
            "code": "INTERNAL_ERROR(2)",
            "text": r"\x1b[2J\nall is well" + "\N{REPLACEMENT CHARACTER}" + r"\u202e",
        },
    ]
    assert lines[-1]["event"] == "end"
    assert lines[-1]["code"] == "INTERNAL_ERROR(2)"
    assert lines[-1]["remote"] is True
    assert lines[-1]["text"].isprintable()


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_peer_of_another_wire_is_named_at_the_end() -> None:
    lines: list[Line] = []
    async with scripted(Config(wire="yamux", frame_log=lines.append)) as (session, peer):
        await peer.say(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(muxado.ProtocolError):
            await session.wait()
    assert not said(lines, "received")
    assert "HTTP" in lines[-1]["text"]
    assert lines[-1]["code"] == "PROTOCOL_ERROR(1)"


@pytest.mark.slow
@pytest.mark.anyio
@wires
async def test_no_payload_is_in_a_log(wire: str, session_pair: SessionPair, tmp_path: Path) -> None:
    path = tmp_path / "frames"
    async with session_pair(Config(wire=wire, frame_log=path)) as sessions:
        await exchange(*sessions)
    text = path.read_text()
    assert SECRET.decode() not in text
    assert SECRET.hex() not in text
    assert {type(value) for line in read(path) for value in line.values()} <= {
        int,
        float,
        str,
        bool,
    }


# Where it is written.


@pytest.mark.anyio
async def test_a_path_is_appended_to_by_all_sessions(
    session_pair: SessionPair, tmp_path: Path
) -> None:
    path = tmp_path / "frames"
    for target in (str(path), path):
        async with session_pair(Config(frame_log=target)) as (dialed, _):
            await dialed.ping()
    lines = read(path)
    assert len({one["session"] for one in lines}) == 4
    for session in {one["session"] for one in lines}:
        of_it = [one for one in lines if one["session"] == session]
        assert [one["event"] for one in events(of_it)] == ["begin", "end"]


@pytest.mark.anyio
async def test_a_text_file_is_written_and_left_open(session_pair: SessionPair) -> None:
    file = io.StringIO()
    async with session_pair(Config(frame_log=file), Config()) as (dialed, _):
        await dialed.ping()
        before = file.getvalue()
        assert '"pong"' in before
    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    assert [one["event"] for one in events(lines)] == ["begin", "end"]


@pytest.mark.anyio
async def test_the_environment_names_a_log_where_the_config_names_none(
    session_pair: SessionPair,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "frames"
    own: list[Line] = []
    monkeypatch.setenv("MUXADO_FRAME_LOG", str(path))
    async with session_pair(Config(), Config(frame_log=own.append)) as (dialed, _):
        await dialed.ping()
    check_logs(read(path), own)
    monkeypatch.setenv("MUXADO_FRAME_LOG", "")
    path.unlink()
    async with session_pair() as (dialed, _):
        await dialed.ping()
    assert not path.exists()
    assert not warnings_of(caplog)


@pytest.mark.slow
@pytest.mark.parametrize(("flags", "logged"), [((), True), (("-E",), False)])
def test_an_interpreter_that_ignores_its_environment_ignores_this(
    flags: tuple[str, ...], logged: bool, tmp_path: Path
) -> None:
    code = """
import sys
sys.path.insert(0, sys.argv[1])
import anyio, muxado_py
from tests.transports import memory_transports

async def main():
    near, far = memory_transports()
    async with muxado_py.client(near) as dialed, muxado_py.server(far):
        await dialed.ping()

anyio.run(main)
"""
    path = tmp_path / "frames"
    root = Path(__file__).parent.parent.parent
    subprocess.run(
        [sys.executable, *flags, "-c", code, str(root)],
        env={**os.environ, "MUXADO_FRAME_LOG": str(path)},
        check=True,
        timeout=120,
    )
    assert path.exists() is logged


# What goes wrong.


def closed_file() -> io.StringIO:
    file = io.StringIO()
    file.close()
    return file


def fails(_: Line) -> None:
    raise ZeroDivisionError("a mistake of the application")


async def asynchronous(_: Line) -> None:
    raise AssertionError("nobody can await it")


class AsyncFile:
    """What anyio and trio open."""

    encoding = "utf-8"

    async def write(self, _: str) -> None:
        raise AssertionError("nobody can await it")


class FailsLate:
    """Takes some lines, and then no more."""

    def __init__(self) -> None:
        self.lines = 0

    def __call__(self, _: Line) -> None:
        self.lines += 1
        if self.lines > 5:
            raise OSError(28, "No space left on device")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "make",
    [
        closed_file,
        lambda: fails,
        FailsLate,
        lambda: asynchronous,
        AsyncFile,
        lambda: "/nowhere/frames",
        lambda: "/",
        lambda: "a\0b",
        pytest.param(
            lambda: "/dev/full",
            marks=pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full"),
        ),
    ],
    ids=["closed", "raises", "late", "async", "async file", "nowhere", "folder", "no path", "full"],
)
async def test_a_log_that_cannot_be_written_is_one_warning(
    make: Any, session_pair: SessionPair, caplog: pytest.LogCaptureFixture
) -> None:
    async with session_pair(Config(frame_log=make()), Config()) as sessions:
        await exchange(*sessions)
    (warning,) = warnings_of(caplog)
    assert "is given up" in warning.getMessage()


@pytest.mark.anyio
async def test_a_line_that_went_only_in_part_is_the_last(
    session_pair: SessionPair, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk has room for a part of a line: the system says so by what it took."""
    resource = pytest.importorskip("resource")
    path = tmp_path / "frames"
    path.write_bytes(bytes(100_000))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_050, before[1]))
    try:
        async with session_pair(Config(frame_log=path), Config()) as sessions:
            await exchange(*sessions)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.stat().st_size == 100_050
    (warning,) = warnings_of(caplog)
    assert "no room for a whole line" in warning.getMessage()


@pytest.mark.parametrize(
    "bad",
    ["", b"frames", 7, True, io.BytesIO(), ["frames"], object()],
    ids=lambda bad: type(bad).__name__,  # a repr with an address would differ between workers
)
def test_what_is_no_log_is_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"^frame_log must be a path, .* got ") as caught:
        Config(frame_log=bad)
    assert repr(bad) in str(caught.value)


def test_what_is_a_log() -> None:
    logs: list[Any] = ["frames", Path("frames"), io.StringIO(), sys.stderr, print, [].append, None]
    for log in logs:
        assert Config(frame_log=log).with_wire("yamux").frame_log is log
