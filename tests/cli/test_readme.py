"""What README has a new user type: these commands, and nothing else, put two apps and a TCP server behind one gateway."""

from __future__ import annotations

import http.client
import re
import shlex
import socket
import socketserver
import ssl
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from ..helpers.wss_echo import echoed
from .processes import ROOT, run, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_COMMANDS = 5


def commands() -> list[list[str]]:
    """The words of each ``muxado`` of that block."""
    text = (ROOT / "README.md").read_text()
    (block,) = (one for one in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) if "--token" in one)
    (gateway,) = re.findall(r"GATEWAY='(.*)'", block)
    lines = block.replace("\\\n", " ").replace("$GATEWAY", gateway).splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("muxado ")]


class Greeting(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(b"SSH-2.0-test\r\n")
        self.request.sendall(self.request.recv(100))


@contextmanager
def greeting() -> Iterator[int]:
    """A server that speaks first, as ssh does."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greeting) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.slow
def test_the_commands_of_the_readme_are_all_that_is_needed(tmp_path: Path) -> None:
    certs, gateway, *serves = commands()
    assert len(serves) + 2 <= MAX_COMMANDS
    with greeting() as ssh_port, ExitStack() as stack:
        real = {
            "keys": str(tmp_path / "keys"),
            "gateway.example": "127.0.0.1",
            "tls://0.0.0.0:7000": "tls://127.0.0.1:0",
            "https://:8443": "https://127.0.0.1:0",
            "ssh=:2222": "ssh=0",
            "192.0.2.1": "127.0.0.1",
            "mysite.wsgi:application": "tests.cli.apps:flask_app",
            "shop:app": "tests.cli.apps:starlette_app",
            "tcp://127.0.0.1:22": f"tcp://127.0.0.1:{ssh_port}",
        }

        def here(words: list[str]) -> list[str]:
            found = [real.get(word, word) for word in words]
            return [re.sub("^keys/", f"{tmp_path}/keys/", word) for word in found]

        made = run(*here(certs))
        assert made.returncode == 0, made.stderr
        process = stack.enter_context(running(*here(gateway)))
        real["tls://gateway.example:7000"] = process.wait_for(r"agents connect to (\S+)")
        port = int(process.wait_for(r"callers of \*\.example\.org connect to tls://\S+:(\d+)"))
        published = int(process.wait_for(r"callers of ssh connect to \S+:(\d+)"))
        for words in serves:
            stack.enter_context(running(*here(words)))
        for name in ("blog", "shop", "ssh"):
            process.wait_for(rf"agent \S+ (serves) {name}")
        context = ssl.create_default_context(cafile=str(tmp_path / "keys" / "ca.pem"))

        def secured(host: str) -> ssl.SSLSocket:
            raw = socket.create_connection(("127.0.0.1", port), timeout=30)
            return context.wrap_socket(raw, server_hostname=host)

        for host, path, text in (
            ("blog.example.org", "/client", "https 127.0.0.1"),
            ("shop.example.org", "/stream", "line 0\nline 1\n"),
        ):
            connection = http.client.HTTPConnection(host)
            connection.sock = secured(host)
            connection.request("GET", path)
            assert connection.getresponse().read().decode().startswith(text)
            connection.close()
        assert echoed("over TLS", "shop.example.org", port, context) == "OVER TLS"
        with socket.create_connection(("127.0.0.1", published), timeout=30) as caller:
            caller.sendall(b"SSH-2.0-mine\r\n")
            with caller.makefile("rb") as said:
                assert said.read() == b"SSH-2.0-test\r\nSSH-2.0-mine\r\n"
