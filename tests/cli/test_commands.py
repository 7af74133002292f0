"""Exit codes, stdout and stderr of the commands, as a shell sees them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import anyio
import click
import pytest
from anyio.from_thread import start_blocking_portal
from click.testing import CliRunner

import muxado_py as muxado
from muxado_py.cli import pinging
from muxado_py.cli import running as running_commands
from muxado_py.cli.commands import muxado as muxado_command
from muxado_py.cli.running import NotStarted

from .processes import command, run, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

APP = "tests.cli.apps:starlette_app"
FLASK = "tests.cli.apps:flask_app"
NOWHERE = "tcp://127.0.0.1:1"  # tcpmux: nobody listens there


@contextmanager
def peer(handler: Callable[[muxado.Session], Awaitable[object]] | None = None) -> Iterator[str]:
    """The URL of a session listener in a thread of its own."""

    @asynccontextmanager
    async def serving() -> AsyncIterator[str]:
        async with (
            muxado.listen("tcp://127.0.0.1:0") as listener,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(listener.serve, handler or muxado.Session.wait)
            yield listener.url
            tasks.cancel_scope.cancel()

    with start_blocking_portal() as portal, portal.wrap_async_context_manager(serving()) as url:
        yield url


def listen_here(published: str) -> tuple[str, ...]:
    return ("--listen", "tcp://127.0.0.1:0", "--publish", published)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("serve", APP), "--connect URL or --listen URL"),
        (("serve", APP, "--connect", "relay:7000"), "tcp://host:port"),
        (("serve", APP, "--connect", NOWHERE, "--listen", NOWHERE), "either"),
        (("serve", APP, "--listen", "tls://127.0.0.1:0"), "--ssl-certfile"),
        (("serve", APP, "--connect", NOWHERE, "--wire", "auto"), "needs --listen"),
        (("serve", APP, "--connect", NOWHERE, "--ssl-ca-certs", __file__), "tls:// URL"),
        (("serve", APP, "--connect", NOWHERE, "--loop", "trio", "--lifespan", "off"), "asyncio"),
        (
            ("serve", FLASK, "--connect", NOWHERE, "--lifespan", "off"),
            "--lifespan is for ASGI applications only",
        ),
        (
            (
                "serve",
                FLASK,
                "--connect",
                NOWHERE,
                "--lifespan",
                "off",
                "--timeout-keep-alive",
                "1",
            ),
            "--lifespan, --timeout-keep-alive are for ASGI applications only",
        ),
        (
            ("serve", APP, "--connect", NOWHERE, "--threads", "2"),
            "--threads is for WSGI applications only",
        ),
        (("serve", APP, "--connect", NOWHERE, "--timeout-keep-alive", "soon"), "write 250ms"),
        (
            ("serve", APP, "--connect", NOWHERE, "--limit-concurrency", "1000000000"),
            "not in the range 1<=x<=536870912",
        ),
        (
            (
                "serve",
                APP,
                "--connect",
                NOWHERE,
                "--root-path",
                "/\N{LATIN SMALL LETTER E WITH ACUTE}",
            ),
            "in ASCII",
        ),
        (("gateway", "--listen", "tcp://127.0.0.1:0", "--publish", "here"), "127.0.0.1:8080"),
        (("gateway", "--listen", "tcp://127.0.0.1:0", "--publish", "A=80"), "is not a name"),
        (("gateway", "--listen", "tcp://127.0.0.1:0", "--http", "0"), "go together"),
        (("gateway", "--listen", "tcp://127.0.0.1:0", "--domain", "a.b"), "go together"),
        (("gateway", "--listen", "tcp://127.0.0.1:0", "--http", "0", "--domain", "*.b"), "domain"),
        (("gateway", "--listen", "tcp://127.0.0.1:0"), "or nobody can call"),
        (("gateway", *listen_here("0"), "--forwarded-allow-ips", "10.0.0.0/8"), "needs --http"),
        (("gateway", *listen_here("0"), "--forwarded-allow-ips", "proxy"), "10.0.0.0/8, or unix"),
        (("gateway", *listen_here("0"), "--limit-caller-rate", "10"), "write 10/s"),
        (("gateway", *listen_here("0"), "--reserve", "www"), "--reserve needs --token-file"),
        (("gateway", *listen_here("0"), "--limit-name-rate", "10/s"), "need --http"),
        (("forward", "here", "--connect", NOWHERE, "--name", "a"), "127.0.0.1:8080"),
        (("forward", "0", "--connect", NOWHERE, "--name", "A"), "is not a name"),
        (("forward", "0", "--connect", NOWHERE, "--name", "a", "--wire", "auto"), "is not one of"),
        (("serve", APP, "--connect", NOWHERE, "--name", "Blog"), "is not a name"),
        (("serve", "https://127.0.0.1", "--connect", NOWHERE), "write tcp://host:port"),
        (("serve", APP, "--connect", NOWHERE, "--proxy-protocol"), "is for local ports only"),
        (
            ("serve", "tcp://127.0.0.1:22", "--connect", NOWHERE, "--threads", "2", "--factory"),
            "--factory, --threads are for applications only",
        ),
        (("serve", APP, "--listen", NOWHERE, "--name", "blog"), "--name needs --connect"),
        (("serve", APP, "--connect", NOWHERE, "--exclusive"), "--exclusive needs --name"),
        (
            ("serve", APP, "--connect", NOWHERE, *(f"--name=n{n}" for n in range(65))),
            "at most 64 names",
        ),
        (
            (
                "serve",
                APP,
                "--connect",
                "tls://127.0.0.1:1",
                "--ssl-certfile",
                __file__,
            ),
            "MUXADO_SSL_KEYFILE_PASSWORD",
        ),
        (("gateway", *listen_here("blog=tls://0")), "needs --door-certfile"),
        (("gateway", *listen_here("blog=0"), "--door-certfile", __file__), "door with TLS"),
        (
            ("gateway", *listen_here("blog=tls://0"), "--door-certfile", __file__),
            "cannot use --door-certfile",
        ),
        (("gateway", *listen_here("0"), "--admin", "https://0"), "needs --door-certfile"),
        (
            ("gateway", *listen_here("0"), "--admin", "https://unix:///a"),
            "Unix socket needs no TLS",
        ),
        (("gateway", *listen_here("0"), "--admin-token-file", "a"), "needs --admin"),
        (
            (
                *("gateway", *listen_here("0"), "--admin", "0"),
                *("--admin-token-file", "a", "--token-file", "a"),
            ),
            "must not be --token-file",
        ),
        (
            (
                *("gateway", *listen_here("0"), "--admin", "0"),
                *("--admin-token-file", "a", "--token-file", os.path.abspath("a")),
            ),
            "must not be --token-file",
        ),
        (("token", "--session-ttl", "0s"), "--session-ttl must be a second or longer"),
        (("token", "--session-ttl", "999ms"), "--session-ttl must be a second or longer"),
        (
            ("gateway", *listen_here("0"), "--session-ttl", "0"),
            "--session-ttl must be a second or longer",
        ),
        (("demo", "--link", "wide"), "50mbit/40ms"),
        (("ping",), "URL"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_right(
    arguments: tuple[str, ...], hint: str
) -> None:
    result = CliRunner().invoke(muxado_command, arguments)
    assert result.exit_code == 2, result.output
    assert hint in " ".join(result.stderr.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("serve", "tests.cli.no_such:app", "--connect", NOWHERE), "no module"),
        (("serve", "tests.cli.apps:LINES", "--connect", NOWHERE), "cannot be called"),
        (
            ("serve", "tests.cli.apps:failing_lifespan", "--connect", NOWHERE, "--lifespan", "on"),
            "start-up failed: RuntimeError: no database",
        ),
        (("serve", APP, "--connect", NOWHERE, "--max-retries", "1"), "Gave up after 2 attempt"),
        (("serve", APP, "--listen", "unix:///no/such/directory/socket"), "cannot listen"),
        (("gateway", "--listen", "tcp://127.0.0.1:0", "--publish", "192.0.2.1:0"), "publish"),
        (("ping", NOWHERE), "no session"),
    ],
)
def test_what_does_not_start_ends_with_3_and_says_why(
    arguments: tuple[str, ...], hint: str
) -> None:
    result = run(*arguments)
    assert result.returncode == 3, result.stderr
    assert hint in result.stderr
    assert result.stdout == ""


@pytest.mark.slow
def test_a_connection_that_is_lost_for_good_ends_with_4() -> None:
    async def leave(session: muxado.Session) -> None:
        await session.ping()

    with peer(leave) as url:
        result = run("serve", APP, "--connect", url, "--max-retries", "0")
    assert result.returncode == 4
    assert f"lost the connection to {url}" in result.stderr


@pytest.mark.slow
def test_ping_prints_a_line_for_each_answer() -> None:
    with peer() as url:
        result = run("ping", url, "--count", "2", "--interval", "10ms")
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert [line.partition("=")[2][:6] for line in lines[:2]] == ["1 time", "2 time"]
    assert lines[2].startswith("2 sent, 2 answered, min ")


@pytest.mark.slow
def test_ping_as_json_is_one_object_and_nothing_else() -> None:
    with peer() as url:
        result = run("ping", url, "--count", "3", "--interval", "0", "--json")
    answer = json.loads(result.stdout)
    assert result.stderr == ""
    assert (answer["url"], answer["sent"], answer["answered"]) == (url, 3, 3)
    assert 0 < answer["min_ms"] <= answer["avg_ms"] <= answer["max_ms"]
    assert len(answer["ms"]) == 3


@pytest.mark.slow
def test_ping_ends_with_4_when_the_session_does() -> None:
    async def answer_one(session: muxado.Session) -> None:
        for _ in range(2):  # the peer's first ping is on its way before it answers ours
            await session.ping()

    with peer(answer_one) as url:
        result = run("ping", url, "--count", "1000", "--interval", "20ms")
    assert result.returncode == 4
    assert "the session" in result.stderr


@pytest.mark.slow
def test_a_signal_ends_ping_with_what_it_has() -> None:
    with peer() as url, running("ping", url, "--count", "1000", "--interval", "1h") as process:
        assert process.stdout_line().startswith("seq=1 ")
        assert process.end(signal.SIGINT) == 0
        assert process.stdout_line().startswith("1 sent, 1 answered")


@pytest.mark.slow
def test_options_come_from_the_environment_too() -> None:
    environment = {**os.environ, "MUXADO_PING_COUNT": "1", "MUXADO_PING_JSON": "1"}
    with peer() as url:
        result = run("ping", url, env=environment)
    assert json.loads(result.stdout)["sent"] == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "colored"), [({}, True), ({"NO_COLOR": "1"}, False)], ids=["tty", "no-color"]
)
def test_the_log_is_colored_on_a_terminal_only(environment: dict[str, str], colored: bool) -> None:
    import pty

    ours, theirs = pty.openpty()
    variables = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = subprocess.Popen(
        command("serve", APP, "--connect", NOWHERE, "--max-retries", "1"),
        stderr=theirs,
        env={**variables, **environment},
    )
    os.close(theirs)
    said = b""
    try:
        while piece := os.read(ours, 65536):
            said += piece
    except OSError:
        pass  # how a terminal says that nobody is left on its other side
    os.close(ours)
    assert process.wait(30) == 3
    assert (b"\x1b[33m" in said) is colored


def test_without_click_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise ModuleNotFoundError(name='click')")
    result = run("--version", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert result.returncode == 3
    assert "pip install 'muxado-py[cli]'" in result.stderr


def test_without_cryptography_certs_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    result = CliRunner().invoke(muxado_command, ["certs", str(tmp_path / "keys")])
    assert result.exit_code == 3
    assert "pip install 'muxado-py[certs]'" in result.stderr
    assert not (tmp_path / "keys").exists()


def test_without_pyjwt_a_gateway_with_its_keys_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "jwt", None)
    (tmp_path / "keys").touch()
    arguments = ["gateway", "--listen", "tcp://127.0.0.1:0", "--publish", "0", "--jwt-keys"]
    result = CliRunner().invoke(muxado_command, [*arguments, str(tmp_path / "keys")])
    assert result.exit_code == 3
    assert "pip install 'muxado-py[jwt]'" in result.stderr


def test_the_demo_wants_the_client_that_it_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    """With httpx alone its gateway could not call."""
    monkeypatch.setitem(sys.modules, "httpx2", None)
    arguments = ["demo", "--seconds", "0.5", "--link", "none"]
    result = CliRunner().invoke(muxado_command, arguments)
    assert result.exit_code == 3
    assert "httpx2 is not installed" in result.stderr


OPTIONS = [
    (name, one)
    for name, its in muxado_command.commands.items()
    for one in its.params
    if isinstance(one, click.Option)
]


def twice(option: click.Option) -> list[str]:
    """It and, if it has one, its opposite; else the same two times."""
    first, second = option.opts[0], (option.secondary_opts or option.opts)[0]
    return [first, second] if option.is_flag else [first, "1", second, "2"]


@pytest.mark.parametrize(
    ("name", "option"), OPTIONS, ids=[f"{name} {one.opts[0]}" for name, one in OPTIONS]
)
def test_an_option_that_counts_once_is_not_given_twice(name: str, option: click.Option) -> None:
    """Of two values click takes the last, and the first would be lost without a word."""
    found = CliRunner().invoke(muxado_command, [name, *twice(option)])
    assert found.exit_code == 2
    assert ("is given 2 times, and counts once" in found.output) is not option.multiple
    if not option.multiple:
        assert f"Error: {option.opts[0]}" in found.output


def test_the_command_line_overrides_the_environment_and_each_may_ask_for_help_twice() -> None:
    found = CliRunner().invoke(
        muxado_command,
        ["ping", NOWHERE, "--count", "2", "--help", "--help"],
        env={"MUXADO_PING_COUNT": "3"},
    )
    assert found.exit_code == 0


def test_the_version() -> None:
    result = CliRunner().invoke(muxado_command, ["--version"])
    assert result.output == f"muxado, version {muxado.__version__}\n"


@pytest.mark.parametrize("name", ["serve", "gateway", "forward", "token", "certs", "ping", "demo"])
def test_help_shows_defaults_and_asks_for_no_secret(name: str) -> None:
    result = CliRunner().invoke(muxado_command, [name, "--help"])
    assert result.exit_code == 0
    assert "[default: " in result.output
    assert "password" not in result.output


def test_the_list_of_commands_cuts_no_sentence_short() -> None:
    result = CliRunner().invoke(muxado_command, ["--help"], terminal_width=80)
    assert "serve " in result.output
    assert "..." not in result.output.partition("Commands:")[2]


def test_where_no_application_is_found_its_directory_is_named(tmp_path: Path) -> None:
    arguments = ["serve", "nowhere:app", "--connect", NOWHERE, "--app-dir", str(tmp_path)]
    result = CliRunner().invoke(muxado_command, arguments)
    assert result.exit_code == 3
    assert f"looked in --app-dir {tmp_path} too" in result.stderr


@pytest.mark.parametrize("written", ["9190", "127.0.0.1:9190"])
def test_who_names_a_port_for_an_application_is_told_how_to_serve_one(written: str) -> None:
    result = CliRunner().invoke(muxado_command, ["serve", written, "--connect", NOWHERE])
    assert result.exit_code == 3
    assert "a local port is tcp://127.0.0.1:9190" in " ".join(result.stderr.split())


@pytest.mark.parametrize("loop", running_commands.LOOPS)
def test_an_error_for_people_comes_out_of_any_depth(loop: str) -> None:
    async def deep(stop: anyio.Event) -> None:
        async with anyio.create_task_group(), anyio.create_task_group():
            raise NotStarted("no")

    with pytest.raises(click.ClickException, match="no"):
        running_commands.run(deep, loop=loop)


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    async def faulty(stop: anyio.Event, text: str) -> None:
        raise AssertionError(text)

    with pytest.raises(ExceptionGroup) as raised:
        running_commands.run(partial(faulty, text="ours"), loop="asyncio")
    assert raised.group_contains(AssertionError, match="ours")


def test_a_peer_that_never_answers_ends_ping_with_4(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pinging, "TIMEOUT", 0.05)
    monkeypatch.setattr(pinging, "CONFIG", replace(pinging.CONFIG, close_timeout=0.1))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        arguments = ["ping", url, "--count", "2", "--interval", "1ms"]
        result = CliRunner().invoke(muxado_command, arguments)
    assert result.exit_code == 4
    assert result.stdout == "seq=1 no answer\nseq=2 no answer\n2 sent, 0 answered\n"
    assert "answered none of 2 pings" in result.stderr
