"""One natural way for the data: each module knows only what stands before it.

The imports are read from the source, those for types too.  Whoever adds a module says here where it
stands.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import muxado_py

ROOT = Path(muxado_py.__file__).parent

GROUND = ("arguments", "errors")
"""What every module may use; each may use those before it."""

BYTES = ("frames", "scheduler")

PROTOCOL = (
    "stream_state",
    "send_half",
    "recv_half",
    "timers",
    "accept_backlog",
    "stream_table",
    "budgets",
    "events",
    "control_queue",
    "shares",
    "gates",
    "tuning",
    "flow_control",
    "intake",
    "end_table",
    "stream_ends",
    "losses",
    "session_ends",
    "opening",
    "heartbeat_streams",
    "admission",
    "inbound_control",
    "peer_resets",
    "overflow",
    "outbound",
    "inbound",
    "timeouts",
    "inspection",
    "connection",
)
"""Without IO; each may use those before it, and config, scheduler and frames."""

CORE = (*GROUND, *BYTES, "config", *PROTOCOL)
"""Without IO, from the wire to the rules; each may use those before it."""

FOLDERS = {
    "protocol": PROTOCOL,
    "runtime": (
        "extras",
        "trio_checkpoints",
        "checkpoints",
        "congestion",
        "connecting",
        "accept_loop",
        "plain_sockets",
        "accept_callbacks",
        "pipes",
        "child_process",
    ),
    "links": (
        "tcp_info",
        "inflight_cap",
        "kernel_queue",
        "busy_poll",
        "parting",
        "flush_size",
        "link",
        "attributes",
        "codec",
        "tls",
        "tls_socket",
        "upgrade",
        "websocket_frames",
        "websocket",
        "websocket_handshakes",
        "codec_stream",
        "anyio_link",
        "recv_buffers",
        "early_protocol",
        "codec_transport",
        "asyncio_link",
        "layers",
    ),
    "session": (
        "pings",
        "keepalive",
        "timekeeper",
        "delivery",
        "frame_log",
        "acceptors",
        "slots",
        "alarms",
        "driver",
        "statistics",
        "waking",
        "stream_errors",
        "caller_address",
        "ending",
        "stream",
        "siblings",
        "whole",
        "glimpse",
        "copy_budget",
        "handlers",
        "listener",
        "copying",
        "socket_end",
        "relay",
        "bridge",
        "stream_connectable",
        "closing",
        "stream_opener",
        "session",
        "peers",
        "sessions_listener",
    ),
    "dialing": (
        "pending",
        "anyio_sockets",
        "asyncio_sockets",
        "detect",
        "session_scope",
        "addresses",
        "proxies",
        "scheme",
        "backend_sockets",
        "through_proxy",
        "host_schemes",
        "unix_paths",
        "unix_scheme",
        "websocket_schemes",
        "exec_scheme",
        "stdio_scheme",
        "schemes",
        "mute",
        "accepted_listener",
        "session_listener",
        "targets",
        "endpoints",
    ),
    "service": (
        "retry_budget",
        "throttle",
        "retry_policy",
        "call_errors",
        "retry_means",
        "attempts",
        "backoff",
        "causes",
        "dialed",
        "keeper",
        "call_statistics",
        "call_frames",
        "call_exchange",
        "call_pieces",
        "telling",
        "hedging",
        "stream_calls",
        "retriable_call",
        "calls",
        "limits",
        "call_queue",
        "call_server",
        "member",
        "members",
        "pool_state",
        "pool_records",
        "pool_sessions",
        "pool_calls",
        "pool",
        "pools",
    ),
}
"""The folders in the order in which the data flows, each with its modules in that order."""

ORDER = ("arguments", "errors", *BYTES, "config", *FOLDERS, "integrations", "blocking", "cli")
"""What ``ls`` shows; each imports only from those before it."""

CLI = (
    "log_lines",
    "running",
    "reloading",
    "tls",
    "pinging",
    "trust",
    "agents",
    "serving",
    "callers",
    "http_door",
    "cluster",
    "demo",
    "options",
    "binding",
    "handshakes",
    "doors",
    "forwarding",
    "admin",
    "gateway",
    "commands",
)
"""What is in ``cli``, in the same order: folders, and modules of commands and of what they are made of."""

SESSION = tuple(
    name for folder, modules in FOLDERS.items() if folder != "protocol" for name in modules
)
"""Tasks, timers and cancellation; each may use those before it, and the core."""

ECOSYSTEM = ("integrations", "blocking", "cli")

KNOWS = {
    "arguments": set(),
    "errors": {"arguments"},
    "frames": {"errors"},
    "scheduler": set(),
    "timers": set(),
    "budgets": set(),
    "retry_budget": set(),
    "throttle": set(),
    "backoff": set(),
    "retry_policy": {"arguments", "throttle"},
    "retry_means": {"errors", "retry_budget", "throttle", "retry_policy", "call_errors"},
    "attempts": {"errors", "retry_means", "retry_policy"},
    "stream_state": {"errors", "scheduler"},
    "send_half": {"stream_state"},
    "recv_half": {"stream_state"},
    "accept_backlog": {"stream_state", "timers"},
    "stream_table": {"stream_state", "timers", "accept_backlog", "config"},
    "events": {"errors", "stream_state"},
    "config": {"frames", "scheduler"},
    "integrations": {
        "arguments",
        "errors",
        "config",
        "scheduler",
        "checkpoints",
        "extras",
        "attributes",
        "upgrade",
        "layers",
        "stream",
        "listener",
        "glimpse",
        "copy_budget",
        "handlers",
        "bridge",
        "closing",
        "session",
        "siblings",
        "retry_policy",
        "retry_means",
        "attempts",
        "call_errors",
        "call_frames",
        "telling",
        "mute",
        "endpoints",
        "call_statistics",
        "call_server",
        "pool",
        "pool_state",
        "calls",
        "pool_calls",
    },
    "blocking": {
        "arguments",
        "errors",
        "config",
        "scheduler",
        "stream",
        "bridge",
        "service",
        "call_statistics",
        "calls",
        "pool",
        "pool_state",
        "pools",
        "retry_policy",
        "integrations",
        "proxies",
    },
    "cli": {
        "errors",
        "config",
        "scheduler",
        "extras",
        "checkpoints",
        "accept_loop",
        "accept_callbacks",
        "connecting",
        "plain_sockets",
        "attributes",
        "codec",
        "tls_socket",
        "layers",
        "handlers",
        "listener",
        "copying",
        "copy_budget",
        "socket_end",
        "caller_address",
        "relay",
        "bridge",
        "unix_paths",
        "proxies",
        "scheme",
        "schemes",
        "targets",
        "endpoints",
        "peers",
        "sessions_listener",
        "retry_budget",
        "backoff",
        "causes",
        "dialed",
        "keeper",
        "pool_sessions",
        "integrations",
        "",
    },
}
"""What the lowest and the highest may use; for the others the order above is enough."""

PURE = {
    "__future__",
    "abc",
    "bisect",
    "collections",
    "dataclasses",
    "enum",
    "heapq",
    "itertools",
    "operator",
    "struct",
    "typing",
}
"""What the core may take from outside: nothing that waits, sleeps, or opens anything."""


class Import(NamedTuple):
    """One import of one module."""

    source: str
    target: str
    names: tuple[str, ...]
    for_types: bool


def folder(name: str) -> str:
    """What of ``muxado_py`` a module is in, or is: ``"links"`` for ``"muxado_py.links.tls"``."""
    return name.partition(".")[2].partition(".")[0]


def part(name: str) -> str:
    """``"frames"`` for ``"muxado_py.frames.wire"``, ``"tls"`` for ``"muxado_py.links.tls"``, ``""`` for a package."""
    top, _, rest = name.partition(".")[2].partition(".")
    return rest if top in FOLDERS else top


def is_module(name: str) -> bool:
    """Whether it is one of the package's, so that ``from . import gates`` imports ``gates``."""
    return ROOT.parent.joinpath(*name.split(".")).with_suffix(".py").exists()


@cache
def imports() -> list[Import]:
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        relative = path.relative_to(ROOT.parent).with_suffix("")
        package = relative.parts[:-1]
        tree = ast.parse(path.read_text())
        typing_only = {
            id(node)
            for block in ast.walk(tree)
            if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
            for node in ast.walk(block)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
                names: tuple[str, ...] = ()
            elif isinstance(node, ast.ImportFrom):
                base = package[: len(package) - node.level + 1] if node.level else ()
                target = ".".join((*base, *(node.module or "").split("."))).strip(".")
                names = tuple(alias.name for alias in node.names)
                modules = [one for one in names if is_module(f"{target}.{one}")]
                targets = [f"{target}.{one}" for one in modules] or [target]
            else:
                continue
            source = ".".join(relative.parts).removesuffix(".__init__")
            found += [Import(source, one, names, id(node) in typing_only) for one in targets]
    return found


def own() -> list[Import]:
    """Imports of the package's own modules by others of it, but for the public face."""
    return [
        one
        for one in imports()
        if one.target.partition(".")[0] == "muxado_py"
        and one.source not in ("muxado_py", "muxado_py.__main__")
    ]


def test_every_module_has_its_place() -> None:
    parts = {part(one.source) for one in imports()} - {"", "__main__"}
    assert parts == {*CORE, *SESSION, *ECOSYSTEM}


def test_the_package_shows_its_folders_and_little_else() -> None:
    shown = {path.name for path in ROOT.iterdir() if path.name != "__pycache__"}
    beside = {"__init__.py", "__main__.py", "py.typed", "arguments.py", "errors.py", "config.py"}
    assert shown == beside | {"frames", "scheduler", *ECOSYSTEM, *FOLDERS}


def test_each_module_is_in_the_folder_that_is_said() -> None:
    for name, modules in FOLDERS.items():
        found = {path.stem for path in (ROOT / name).glob("*.py")} - {"__init__"}
        assert found == set(modules)


def test_folders_import_only_from_those_before_them() -> None:
    for one in own():
        source, target = folder(one.source), folder(one.target)
        if target:
            assert ORDER.index(target) <= ORDER.index(source), one


def test_the_rooms_of_the_command_import_only_from_those_before_them() -> None:
    """For types, too."""
    found = {path.stem for path in (ROOT / "cli").iterdir()} - {"__init__", "__pycache__"}
    assert found == set(CLI)
    rooms = [(one, *(_room(name) for name in (one.source, one.target))) for one in own()]
    for one, source, target in rooms:
        if source and target:
            assert CLI.index(target) <= CLI.index(source), one


def _room(name: str) -> str:
    """``"trust"`` for ``"muxado_py.cli.trust.tokens"``; nothing for what is not in ``cli``."""
    return name.split(".")[2] if name.startswith("muxado_py.cli.") else ""


def test_no_modules_import_each_other_in_a_circle() -> None:
    """In no folder, and for types neither; a package's own ``__init__`` hands names on, and is left out."""
    modules = {one.source for one in imports()}
    below = {
        source: {one.target for one in own() if one.source == source and one.target != source}
        & modules
        for source in modules
    }
    while below:
        ground = [name for name, others in below.items() if not others & below.keys()]
        assert ground, f"these import each other: {sorted(below)}"
        for name in ground:
            del below[name]


def test_the_protocol_is_a_house_of_few_floors() -> None:
    """How many modules of the folder one has to know, at most, to understand one: imports for types count, too."""
    below = {name: set[str]() for name in PROTOCOL}
    for one in own():
        if folder(one.source) == folder(one.target) == "protocol" and part(one.target):
            below[part(one.source)].add(part(one.target))
    floors: dict[str, int] = {}
    for name in PROTOCOL:
        floors[name] = 1 + max((floors[other] for other in below[name] - {name}), default=0)
    assert max(floors.values()) <= 13


def test_contributing_names_every_module_in_this_order() -> None:
    text = (ROOT.parent / "CONTRIBUTING.md").read_text()
    table = text.partition("| folder | modules |")[2].partition("\n\n")[0]
    cells = [row.split("|")[2] for row in table.splitlines()[2:]]
    named = re.findall(r"`(\w+)/?`", "".join(cells))
    assert named == [*CORE, *SESSION, *ECOSYSTEM]


def test_the_map_of_the_package_has_this_order() -> None:
    assert muxado_py.__doc__ is not None
    rows = re.findall(r"^    (\S.*?)  ", muxado_py.__doc__, re.MULTILINE)
    named = re.findall(r"\w+", " ".join(rows))
    assert named == list(ORDER)


@pytest.mark.parametrize("name", CORE)
def test_the_core_knows_only_what_stands_before_it(name: str) -> None:
    before = {*CORE[: CORE.index(name)], name}
    for one in own():
        if part(one.source) == name:
            assert part(one.target) in before, one


@pytest.mark.parametrize("name", SESSION)
def test_the_session_layer_knows_only_what_stands_before_it(name: str) -> None:
    before = {*CORE, *SESSION[: SESSION.index(name)], name}
    for one in own():
        if part(one.source) == name:
            # Two classes that hold each other need each other's names, but only as types.
            allowed = before | set(SESSION) if one.for_types else before
            assert part(one.target) in allowed, one


@pytest.mark.parametrize("name", sorted(KNOWS))
def test_what_it_may_know(name: str) -> None:
    used = {part(one.target) for one in own() if part(one.source) == name}
    assert used - {name} <= KNOWS[name]


def test_nobody_above_the_core_moves_frames() -> None:
    users = {part(one.source) for one in own() if part(one.target) == "frames"}
    assert users <= {*CORE, "detect"}


def test_the_core_waits_for_nothing_and_opens_nothing() -> None:
    for one in imports():
        if part(one.source) in CORE and not one.target.startswith("muxado_py"):
            if part(one.source) == "errors" and one.target == "anyio":
                assert set(one.names) <= {"BrokenResourceError", "ClosedResourceError"}
            else:
                assert one.target.partition(".")[0] in PURE, one


LOOPS = {
    "asyncio": {
        *ECOSYSTEM,
        "checkpoints",
        "accept_callbacks",
        "child_process",
        "early_protocol",
        "codec_transport",
        "asyncio_link",
        "socket_end",
        "relay",
        "asyncio_sockets",
    },
    "trio": {"trio_checkpoints"},
    "threading": {*ECOSYSTEM, "checkpoints"},  # which thread this is
    "socket": {
        *ECOSYSTEM,
        "tls_socket",
        "socket_end",
        "bridge",
        "pending",
        "unix_paths",
        "congestion",
        "connecting",
        "plain_sockets",
        "pipes",
        "accept_callbacks",
        "asyncio_sockets",
        "tcp_info",
    },
}
"""Who may know an event loop, and who a socket."""


def test_only_adaptors_know_an_event_loop() -> None:
    for one in imports():
        top = one.target.partition(".")[0]
        if top in ("asyncio", "trio", "uvloop", "threading", "select", "selectors"):
            assert part(one.source) in LOOPS.get(top, ECOSYSTEM), one
        elif top == "socket" and not one.for_types:
            assert part(one.source) in LOOPS[top], one


def test_importing_the_package_pulls_in_anyio_only() -> None:
    code = """
import sys
import anyio, anyio.abc, anyio.lowlevel, anyio.streams.tls
known = set(sys.modules)
import muxado_py
tops = {name.partition(".")[0] for name in set(sys.modules) - known}
foreign = tops - set(sys.stdlib_module_names) - {"muxado_py", "anyio"}
assert not foreign, foreign
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT.parent
    )
    assert result.returncode == 0, result.stderr
