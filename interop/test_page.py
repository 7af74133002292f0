"""The page at the admin address, in a real browser: what it shows, and to whom.

Gateway and agent are processes, as a user starts them.  The agent's certificate, the path of a request and its query are such
as somebody would choose who wanted to be more than shown.
"""

from __future__ import annotations

import json
import re
import socket
import threading
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
import trustme

from tests.cli.processes import Running, running

from .browser import ALIAS, find_browser, may_fetch, running_browser
from .workshop import ToolchainError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .browser import Browser
    from .workshop import Workshop

HOLDER = "<img src=x onerror=hit()>"
PATH = "/<script>hit()</script>/<img/src=x/onerror=hit()>"
SECRET = "do-not-show-this"


@pytest.fixture
def browser(workshop: Workshop, tmp_path: Path) -> Iterator[Browser]:
    with ExitStack() as stack:
        try:
            command = find_browser(workshop, fetch=may_fetch())
            browser = stack.enter_context(running_browser(command, tmp_path / "browser"))
        except ToolchainError as error:
            if may_fetch():
                pytest.fail(f"MUXADO_INTEROP=require, but {error}", pytrace=False)
            pytest.skip(str(error))
        yield browser


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """Those of a gateway and of an agent with a hostile name."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    for name, one in (
        ("gateway", authority.issue_cert("localhost")),
        ("agent", authority.issue_cert("blog", common_name=HOLDER)),
    ):
        one.private_key_pem.write_to_path(str(tmp_path / f"{name}.key"))
        for blob in one.cert_chain_pems:
            blob.write_to_path(str(tmp_path / f"{name}.pem"), append=True)
    return tmp_path


@contextmanager
def gateway(
    certificates: Path, *flags: str, http: str = "127.0.0.1:0"
) -> Iterator[tuple[Running, str, int]]:
    """A gateway, with the origin of its page and the port of its HTTP door."""
    with running(
        *("gateway", "--listen", "tls://localhost:0", "--http", http, *flags),
        *("--domain", "example.org", "--admin", "127.0.0.1:0"),
        *("--ssl-certfile", f"{certificates}/gateway.pem"),
        *("--ssl-keyfile", f"{certificates}/gateway.key"),
        *("--ssl-ca-certs", f"{certificates}/ca.pem"),
    ) as process:
        admin = process.wait_for(r"see how it is at (http://[\d.:]+)/")
        door = process.wait_for(r"callers of \*\.example\.org connect to \S+:(\d+)")
        yield process, admin, int(door)


@contextmanager
def agent(gateway: Running, certificates: Path) -> Iterator[Running]:
    port = gateway.wait_for(r"agents connect to tls://\S+:(\d+)")
    with running(
        *(
            "serve",
            "tests.cli.apps:starlette_app",
            "--name",
            "blog",
            "--connect",
            f"tls://localhost:{port}",
        ),
        *("--ssl-certfile", f"{certificates}/agent.pem"),
        *("--ssl-keyfile", f"{certificates}/agent.key"),
        *("--ssl-ca-certs", f"{certificates}/ca.pem"),
    ) as process:
        yield process


def ask(port: int) -> str:
    """The status line of what a caller is answered."""
    with socket.create_connection(("127.0.0.1", port)) as caller:
        caller.sendall(
            f"GET {PATH}?token={SECRET} HTTP/1.1\r\nHost: blog.example.org\r\nCookie: {SECRET}\r\n"
            f"Authorization: Bearer {SECRET}\r\nConnection: close\r\n\r\n".encode()
        )
        with caller.makefile() as answer:
            return answer.readline()


def has(text: str) -> str:
    return f"document.body.innerText.includes({json.dumps(text)})"


def test_it_shows_what_there_is_and_what_comes_as_text(
    browser: Browser, certificates: Path
) -> None:
    with gateway(certificates) as (process, page, door):
        tab = browser.open(f"{page}/")
        tab.run("window.hit = () => { window.isHit = true; }; window.isFirst = true; 0")
        tab.until(has("No agent is connected"))
        tab.until(has("muxado serve module:app --name blog --connect tls://localhost:"))
        assert "0 agents, 0 names, 0 callers" in tab.text()
        with agent(process, certificates) as serving:
            tab.until(has(HOLDER))
            tab.until(has("1 agent, 1 name"))
            assert f"blog.example.org:{door}" in tab.text()
            assert "Nothing was asked yet" in tab.text()
            assert ask(door).startswith("HTTP/1.1 404")
            tab.until(has(f"GET {PATH}"))
            tab.until("document.querySelector('#requests').rows.length === 1")
            with socket.create_connection(("127.0.0.1", door)) as caller:
                tab.until(has("1 caller"))
                caller.sendall(b"GET /half HTTP/1.1\r\n")
            tab.until(has("0 callers"))
            serving.end()
        tab.until(has("No agent is connected"))
        assert process.end() == 0
        tab.until(has("No answer since"))
        assert tab.run("window.isFirst && !window.isHit")
        assert tab.run("document.querySelectorAll('img, script').length") == 1
        assert SECRET not in tab.run("document.documentElement.outerHTML")
    assert [one for one in browser.complaints if "ERR_CONNECTION_REFUSED" not in one] == []


def test_it_says_how_to_come_in_at_each_door(browser: Browser, certificates: Path) -> None:
    path = f"{certificates}/door"
    with gateway(
        certificates,
        *("--publish", "shop=tls://127.0.0.1:0", "--publish", f"unix://{path}"),
        *("--publish", "0", "--door-certfile", f"{certificates}/gateway.pem"),
        *("--door-keyfile", f"{certificates}/gateway.key"),
        http="https://127.0.0.1:0",
    ) as (_, page, door):
        tab = browser.open(f"{page}/")
        tab.until(has("Nobody is connected now"))
        hints = str(tab.run("document.querySelector('#callers-hint').textContent")).splitlines()
        names = str(tab.run("document.querySelector('#names').innerText"))
    shop, unix, plain, any_name = hints
    assert re.fullmatch(r"curl https://127\.0\.0\.1:\d+/  # shop", shop)
    assert unix == f"curl --unix-socket {path} http://localhost/"
    assert re.fullmatch(r"curl http://127\.0\.0\.1:\d+/", plain)
    where = f"curl --connect-to ::127.0.0.1:{door} https://blog.example.org:{door}/"
    assert any_name == where
    assert f"https://shop.example.org:{door}" in names
    assert browser.complaints == []


def test_it_is_moved_by_the_keyboard_and_rests_when_told(
    browser: Browser, certificates: Path
) -> None:
    with gateway(certificates) as (process, page, _):
        tab = browser.open(f"{page}/")
        tab.until(has("No agent is connected"))
        tab.press("Tab", 9)
        assert tab.run("document.activeElement.id") == "pause"
        tab.press("Enter", 13, "\r")
        tab.until(has("Paused"))
        assert tab.run("document.activeElement.getAttribute('aria-pressed')") == "true"
        with agent(process, certificates):
            process.wait_for(r"agent \S+ .*connected")
            asked = "performance.getEntriesByType('resource').length"
            before = tab.run(asked)
            tab.run("new Promise((done) => setTimeout(done, 2500))")
            assert tab.run(asked) <= before + 1  # one may have been on its way
            assert "No agent is connected" in tab.text()
            tab.press("Enter", 13, "\r")
            tab.until(has("1 agent, 1 name"))
    assert browser.complaints == []


@contextmanager
def stranger() -> Iterator[str]:
    """The origin of somebody else's page on this machine, such as an app has behind the gateway."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<title>stranger</title>")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


FETCH = (
    """fetch(%s, {mode: %s}).then((it) => it.text()).then((it) => `read: ${it}`, (it) => it.name)"""
)
FRAME = """new Promise((done) => {
    const it = document.body.appendChild(document.createElement("iframe"));
    it.onload = () => { try { done(it.contentDocument.title); } catch { done("not mine"); } };
    it.src = %s;
})"""
SCRIPT = """new Promise((done) => {
    const it = document.createElement("script");
    it.onload = () => done("run");
    it.onerror = () => done("not run");
    it.src = %s;
    document.head.append(it);
})"""


def test_no_page_of_another_origin_reads_it(browser: Browser, certificates: Path) -> None:
    with gateway(certificates) as (_, page, _), stranger() as other:
        tab = browser.open(f"{other}/")
        url = json.dumps(f"{page}/page.json")
        assert tab.run(FETCH % (url, '"cors"')) == "TypeError"
        assert tab.run(FETCH % (url, '"no-cors"')) in ("TypeError", "read: ")
        assert tab.run(SCRIPT % url) == "not run"
        assert tab.run(FRAME % json.dumps(f"{page}/")) in ("", "not mine")
        opened = tab.run(f"(window.opened = open({json.dumps(page + '/')})) !== null")
        assert opened
        assert (
            tab.run("(() => { try { return opened.document.title; } catch { return ''; } })()")
            == ""
        )

        # The same machine under a stranger's name, which is that page's own: nothing is answered to it.
        port = page.rpartition(":")[2]
        rebound = browser.open(f"http://{ALIAS}:{port}/")
        assert "Host of a request must be this machine's" in rebound.text()
        assert rebound.run(FETCH % ('"/page.json"', '"same-origin"')) == "TypeError"
