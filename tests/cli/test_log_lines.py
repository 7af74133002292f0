"""The log as programs read it: a JSON object a line, whatever anybody says."""

from __future__ import annotations

import json
import logging
import signal
import sys
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from muxado_py.cli.log_lines import JsonLines, TextLines, fields
from muxado_py.cli.running import NotStarted, configure_logging

from .processes import run, running

APP = "tests.cli.apps:starlette_app"
FLASK = "tests.cli.apps:flask_app"


def line_of(
    message: str,
    *args: Any,
    name: str = "muxado.cli",
    formatter: logging.Formatter | None = None,
    exc_info: Any = None,
    extra: dict[str, Any] | None = None,
) -> str:
    record = logging.getLogger(name).makeRecord(
        name, logging.WARNING, __file__, 1, message, args, exc_info, extra=extra
    )
    record.created = 1_700_000_000.25
    return (formatter or JsonLines()).format(record)


def test_a_record_is_an_object_with_time_level_logger_and_message() -> None:
    assert json.loads(line_of("agent %s connected", "127.0.0.1:5")) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "warning",
        "logger": "muxado.cli",
        "message": "agent 127.0.0.1:5 connected",
    }


def test_lines_for_people_have_the_time_of_their_own_second() -> None:
    formatter = TextLines(use_colors=False)
    record = logging.makeLogRecord({"msg": "x", "levelname": "INFO"})

    def time_at(seconds: float) -> str:
        record.created = seconds
        return formatter.format(record).split()[0]

    shown = [time_at(1_700_000_000 + more) for more in (0.1, 0.9, 1.0, 60.0, 0.2)]
    at = [
        datetime.fromtimestamp(1_700_000_000 + more) for more in (0, 0, 1, 60, 0)
    ]  # the local one
    assert shown == [f"{one:%H:%M:%S}" for one in at]


@pytest.mark.parametrize(
    "said",
    [
        'a\r\n{"level": "info"}',
        "\x1b[2J\x00\x7f\x9b",
        "\N{RIGHT-TO-LEFT OVERRIDE}\N{LINE SEPARATOR}\x85",
        "\ud800",
        '"\\',
    ],
)
def test_what_a_peer_says_cannot_end_the_line_or_act_on_a_terminal(said: str) -> None:
    line = line_of("it said %s", said, extra=fields(said=said))
    assert line.isascii()
    assert line.isprintable()
    read = json.loads(line)
    assert (read["message"], read["said"]) == (f"it said {said}", said)


def test_fields_follow_and_displace_nothing() -> None:
    extra = fields(name="blog", seconds=0.25, status=None, message="another", level="none")
    read = json.loads(line_of("gone", extra=extra))
    assert list(read) == ["time", "level", "logger", "message", "name", "seconds", "status"]
    assert (read["message"], read["level"], read["status"]) == ("gone", "warning", None)


def test_a_field_of_any_type_is_written() -> None:
    assert json.loads(line_of("", extra=fields(url=NotStarted("x"))))["url"] == "x"


def test_an_exception_is_text_in_the_same_line() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        line = line_of("failed", exc_info=sys.exc_info())
    assert "\n" not in line
    read = json.loads(line)
    assert read["message"] == "failed"
    assert read["exception"].startswith("Traceback (most recent call last):\n")
    assert read["exception"].endswith("ValueError: two\nlines")


def test_an_answer_of_uvicorn_has_its_parts_as_fields() -> None:
    form = '%s - "%s %s HTTP/%s" %d'
    read = json.loads(line_of(form, "h:1", "GET", "/a?b", "1.1", 200, name="uvicorn.access"))
    assert read["message"] == 'h:1 - "GET /a?b HTTP/1.1" 200'
    assert {name: read[name] for name in ("client", "method", "path", "status")} == {
        "client": "h:1",
        "method": "GET",
        "path": "/a?b",
        "status": 200,
    }


def test_an_applications_own_status_stays_what_it_is() -> None:
    line = line_of('%s "%s %s %s" %s', "h", "GET", "/", "HTTP/1.1", "abc", name="muxado.access")
    assert json.loads(line)["status"] == "abc"


def test_for_people_a_line_has_no_fields() -> None:
    line = line_of("gone", extra=fields(name="blog"), formatter=TextLines(use_colors=False))
    assert line[8:] == " WARNING gone"


def test_who_configured_no_logger_writes_json_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "lastResort", logging.StreamHandler(sys.stderr))
    assert logging.lastResort is not None
    configure_logging("info", log_format="json")
    logging.lastResort.handle(logging.makeLogRecord({"name": "asyncio", "msg": "a task failed"}))
    assert json.loads(capsys.readouterr().err)["logger"] == "asyncio"
    configure_logging("info")
    logging.lastResort.handle(logging.makeLogRecord({"msg": "plain"}))
    assert capsys.readouterr().err == "plain\n"


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_what_ends_a_command_is_a_record_where_programs_read(
    log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("critical", log_format=log_format)
    NotStarted("the port is taken").show()
    said = capsys.readouterr().err
    if log_format == "text":
        assert said == "Error: the port is taken\n"
    else:
        read = json.loads(said)
        assert (read["level"], read["message"]) == ("critical", "the port is taken")


@pytest.mark.slow
@pytest.mark.parametrize(("app", "access"), [(APP, "uvicorn.access"), (FLASK, "muxado.access")])
def test_each_line_of_a_command_is_an_object_to_its_end(app: str, access: str) -> None:
    begun = datetime.now(UTC) - timedelta(milliseconds=1)
    with (
        running(
            *("gateway", "--listen", "tcp://127.0.0.1:0", "--publish", "127.0.0.1:0"),
            *("--log-format", "json"),
        ) as gateway,
    ):
        url = gateway.wait_for(r"agents connect to (tcp://[\d.:]+)")
        address = gateway.wait_for(r"callers connect to ([\d.:]+)")
        with running("serve", app, "--connect", url, "--log-format", "json") as agent:
            gateway.wait_for(r"agent (\S+) connected")
            with urllib.request.urlopen(f"http://{address}/?name=you", timeout=30) as answer:
                assert answer.status == 200
            agent.wait_for(r'(\{.*"status": 200)')
            assert agent.end() == 0
            said = agent.said().splitlines()
        assert gateway.end(signal.SIGINT) == 0
        lines = [json.loads(line) for line in (*said, *gateway.said().splitlines())]
    for line in lines:
        assert begun <= datetime.fromisoformat(line["time"]) <= datetime.now(UTC)
    (answered,) = [line for line in lines if line["logger"] == access and "path" in line]
    assert (answered["method"], answered["path"], answered["status"]) == ("GET", "/?name=you", 200)
    assert any(line["message"].startswith("SIGINT: stopping") for line in lines)


@pytest.mark.slow
def test_what_does_not_start_says_so_in_json() -> None:
    result = run("serve", APP, "--listen", "unix:///no/such/dir/s", "--log-format", "json")
    assert result.returncode == 3
    last = [json.loads(line) for line in result.stderr.splitlines()][-1]
    assert last["level"] == "critical"
    assert "cannot listen" in last["message"]
