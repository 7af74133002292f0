"""What is kept of callers and requests for the page, and what is not."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from muxado_py.cli.callers.latest import KEPT, MAX_LINE, MAX_PATH, Latest, read_line
from muxado_py.cli.callers.ledger import End


@dataclass(eq=False)
class Someone:
    client: str | None = "192.0.2.7:1"
    name: str | None = "blog"
    agent: str | None = None
    line: bytes = b"GET / HTTP/1.1\r"
    status: int | None = 200


def test_callers_are_there_until_they_leave() -> None:
    latest = Latest(iter([10.0, 11.0]).__next__)
    one, two = Someone(), Someone()
    latest.came(one)
    latest.came(two)
    assert list(latest.callers.items()) == [(one, 10.0), (two, 11.0)]
    latest.left(one)
    latest.left(one)
    assert list(latest.callers) == [two]


def test_no_more_than_the_last_requests_are_kept() -> None:
    latest = Latest()
    for number in range(1, KEPT + 51):
        latest.asked(Someone(status=number), End.ANSWERED, 0.5)
    assert [one.number for one in latest.requests] == list(range(51, KEPT + 51))
    assert latest.requests[0].status == 51


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (b"/", "/"),
        (b"/a?token=secret", "/a"),
        (b"/a?", "/a"),
        (b"/a#secret", "/a"),
        (b"/a?b=/c", "/a"),
        (b"?secret", ""),
        (b"*", "*"),
        (b"http://me:secret@app.test/a?secret", "/a"),
        (b"http://me:secret@app.test", "/"),
        (b"http://me:secret?/@app.test/a", "/"),
        (b"me:secret@app.test:443", "app.test:443"),
        (b"/\xc3\xa4", "/ä"),
        (b"/\xff", "/�"),
        ("/\u202egpj.exe".encode(), "/\\u202egpj.exe"),
        (b"/\x1b[31m", "/\\x1b[31m"),
        (b"/<script>", "/<script>"),
        (b"/" + b"a" * 5000, "/" + "a" * (MAX_PATH - 1) + "…"),
    ],
)
def test_of_a_request_method_and_path_are_shown(line: bytes, path: str) -> None:
    assert read_line(b"POST " + line + b" HTTP/1.1\r") == ("POST", path)


@pytest.mark.parametrize("line", [b"", b"SSH-2.0-OpenSSH_9.2", b"x" * 2 * MAX_LINE])
def test_what_is_no_request_shows_nothing(line: bytes) -> None:
    assert read_line(line) == ("", "")
