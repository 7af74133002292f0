"""The set-ups: the gateway of muxado_py, of another checkout of it, and the tunnels that people run instead.

Each is a gateway, an agent and an application, started as their documentation says, at their defaults: what is encrypted by
default is encrypted.  A :class:`Setup` says who they are, what versions they have, why they may not be here, and
which programs to start; nothing else in this benchmark knows one from another.

The rule.  The application is the same everywhere, and serves alike: uvicorn with uvloop and httptools, in the agent if the
agent can, else behind it on a loopback port.  Nobody writes a line for each caller: neither we, nor uvicorn, nor frp.

The trap.  A checkout is put in front of what is installed by ``PYTHONPATH``, and ``python -m`` looks into the current directory
first: programs run in an empty folder.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ...workshop import CrateSource, GoTools, ToolchainError
from . import ssh
from .programs import HOST, Program, free_port

if TYPE_CHECKING:
    from ...workshop import Source, Workshop

__all__ = ("ALONE", "OURS", "Ports", "Setup", "setups", "versions")

HERE = Path(__file__).resolve()
ROOT = HERE.parents[3]
OURS, ALONE = "muxado_py", "uvicorn alone"
KEEP_ALIVE = "300"
"""Seconds: longer than idle callers are held."""
ROOM = "2000"
"""Callers at once, of whom our gateway takes 500 by default: more than are held."""
FRP = GoTools("frp")
CHISEL = GoTools("chisel")


class Ports(NamedTuple):
    """Where everybody of one set-up listens."""

    agents: int
    callers: int
    app: int

    @classmethod
    def free(cls) -> Ports:
        """Three that are free."""
        while len(ports := {free_port() for _ in cls._fields}) < len(cls._fields):
            pass
        return cls(*ports)


class Setup(Protocol):
    """One way from a caller to the application."""

    @property
    def name(self) -> str:
        """As in the table."""

    @property
    def note(self) -> str:
        """What must be known of it."""

    def absence(self, workshop: Workshop) -> str:
        """Why it cannot take part on this machine, or nothing."""

    def programs(self, workshop: Workshop, ports: Ports, folder: Path) -> tuple[Program, ...]:
        """The gateway, what the agent needs, and the agent."""


def setups(against: Path | None = None, *, quick: bool = False) -> tuple[Setup, ...]:
    """All of them.

    :param against: another checkout of muxado_py.
    :param quick: what is compiled for minutes to be fast may be slow.
    """
    others = () if against is None else (Ours(f"muxado_py in {against}", against.resolve()),)
    return (
        Ours(OURS, ROOT),
        *others,
        Frp(),
        Chisel(),
        Ssh(),
        Rathole(CrateSource("rathole", "0.5.0", ("server", "client"), debug=quick)),
        Alone(),
    )


@dataclass(frozen=True, slots=True)
class Ours:
    """``muxado gateway`` and ``muxado serve`` of a checkout."""

    name: str
    tree: Path
    note: str = "in the clear"

    def absence(self, workshop: Workshop) -> str:
        """Why it cannot take part."""
        return "" if (self.tree / "muxado_py").is_dir() else f"no muxado_py in {self.tree}"

    def programs(self, workshop: Workshop, ports: Ports, folder: Path) -> tuple[Program, ...]:
        """The gateway and the agent, which has the application."""
        gateway = _gateway(self.tree, ports)
        url = f"tcp://{HOST}:{ports.agents}"
        flags = ("--no-access-log", "--lifespan", "off", "--timeout-keep-alive", f"{KEEP_ALIVE}s")
        app = ("app:app", "--app-dir", str(HERE.parent))
        return gateway, _muxado(self.tree, 0, "serve", *app, "--connect", url, *flags)


@dataclass(frozen=True, slots=True)
class Frp:
    """frp, a proxy of type tcp."""

    name: str = "frp"
    note: str = "v0.65.0; TLS, its default; log level warn"

    def absence(self, workshop: Workshop) -> str:
        """Why it cannot take part."""
        return _unbuilt(workshop, FRP)

    def programs(self, workshop: Workshop, ports: Ports, folder: Path) -> tuple[Program, ...]:
        """``frps``, the application, ``frpc``."""
        server, client = folder / "frps.toml", folder / "frpc.toml"
        server.write_text(
            f'bindAddr = "{HOST}"\nbindPort = {ports.agents}\nproxyBindAddr = "{HOST}"\n'
            'log.level = "warn"\n'
        )
        client.write_text(
            f'serverAddr = "{HOST}"\nserverPort = {ports.agents}\nlog.level = "warn"\n'
            f'[[proxies]]\nname = "app"\ntype = "tcp"\nlocalIP = "{HOST}"\n'
            f"localPort = {ports.app}\nremotePort = {ports.callers}\n"
        )
        tools = workshop.program(FRP)
        return (
            Program([str(tools / "frps"), "-c", str(server)], ports.agents),
            _uvicorn(ports.app),
            Program([str(tools / "frpc"), "-c", str(client)], ports.callers),
        )


@dataclass(frozen=True, slots=True)
class Chisel:
    """chisel, a reverse remote."""

    name: str = "chisel"
    note: str = "v1.11.3; SSH over a websocket, its default"

    def absence(self, workshop: Workshop) -> str:
        """Why it cannot take part."""
        return _unbuilt(workshop, CHISEL)

    def programs(self, workshop: Workshop, ports: Ports, folder: Path) -> tuple[Program, ...]:
        """The server, the application, the client."""
        tool = str(workshop.program(CHISEL) / "chisel")
        server = ("server", "--host", HOST, "--port", str(ports.agents), "--reverse")
        remote = f"R:{HOST}:{ports.callers}:{HOST}:{ports.app}"
        return (
            Program([tool, *server], ports.agents),
            _uvicorn(ports.app),
            Program([tool, "client", f"http://{HOST}:{ports.agents}", remote], ports.callers),
        )


@dataclass(frozen=True, slots=True)
class Ssh:
    """OpenSSH of this machine; ``-R`` at the agent."""

    name: str = "ssh -R"

    @property
    def note(self) -> str:
        """Whose it is."""
        return f"{ssh.version()} of this machine, without a superuser's rights; encrypted"

    def absence(self, workshop: Workshop) -> str:
        """Why it cannot take part."""
        return ssh.absence()

    def programs(self, workshop: Workshop, ports: Ports, folder: Path) -> tuple[Program, ...]:
        """``sshd``, the application, ``ssh``."""
        server, client = ssh.programs(folder, ports.agents, ports.callers, ports.app)
        return server, _uvicorn(ports.app), client


@dataclass(frozen=True, slots=True)
class Rathole:
    """rathole, from crates.io."""

    source: CrateSource
    name: str = "rathole"

    @property
    def note(self) -> str:
        """Which."""
        slow = "; COMPILED FOR DEBUGGING, which is slow" if self.source.debug else ""
        return f"{self.source.version}; in the clear, its default{slow}"

    def absence(self, workshop: Workshop) -> str:
        """Why it cannot take part."""
        return _unbuilt(workshop, self.source)

    def programs(self, workshop: Workshop, ports: Ports, folder: Path) -> tuple[Program, ...]:
        """The server, the application, the client."""
        server, client = folder / "server.toml", folder / "client.toml"
        server.write_text(
            f'[server]\nbind_addr = "{HOST}:{ports.agents}"\n'
            f'[server.services.app]\ntoken = "token"\nbind_addr = "{HOST}:{ports.callers}"\n'
        )
        client.write_text(
            f'[client]\nremote_addr = "{HOST}:{ports.agents}"\n'
            f'[client.services.app]\ntoken = "token"\nlocal_addr = "{HOST}:{ports.app}"\n'
        )
        tool = str(workshop.program(self.source))
        return (
            Program([tool, str(server)], ports.agents),
            _uvicorn(ports.app),
            Program([tool, str(client)], ports.callers),
        )


@dataclass(frozen=True, slots=True)
class Alone:
    """No tunnel: the limit.  It has no gateway that idle callers could fill."""

    name: str = ALONE
    note: str = ""

    def absence(self, workshop: Workshop) -> str:
        """Never: it is of the extra ``cli``."""
        return ""

    def programs(self, workshop: Workshop, ports: Ports, folder: Path) -> tuple[Program, ...]:
        """The application."""
        return (_uvicorn(ports.callers),)


def _unbuilt(workshop: Workshop, source: Source) -> str:
    try:
        workshop.program(source)
    except ToolchainError as error:
        return f"it cannot be built: {error}"
    return ""


def _gateway(tree: Path, ports: Ports) -> Program:
    publish = ("--publish", f"{HOST}:{ports.callers}", "--limit-concurrency", ROOM)
    listen = ("--listen", f"tcp://{HOST}:{ports.agents}")
    return _muxado(tree, ports.agents, "gateway", *listen, *publish)


def _muxado(tree: Path, port: int, *arguments: str) -> Program:
    command = [sys.executable, "-m", "muxado_py", *arguments]
    return Program(command, port, {"PYTHONPATH": str(tree)})


def _uvicorn(port: int) -> Program:
    flags = ("--no-access-log", "--log-level", "warning", "--lifespan", "off")
    app = ("app:app", "--app-dir", str(HERE.parent), "--timeout-keep-alive", KEEP_ALIVE)
    command = [sys.executable, "-m", "uvicorn", *app, "--host", HOST, "--port", str(port), *flags]
    return Program(command, port)


def versions() -> str:
    """Of what all set-ups share."""
    names = ("uvicorn", "uvloop", "httptools", "websockets", "anyio")
    return ", ".join(f"{name} {version(name)}" for name in names)
