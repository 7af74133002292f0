"""The set-ups: the gateway of muxado_py, of another checkout of it, and the tunnels that people run instead.

Each is a gateway, an agent and an application, started as their documentation says, at their defaults: what is encrypted by
default is encrypted.  A :class:`Setup` says who they are, what versions they have, why they may not be here, and
which programs to start; nothing else in this benchmark knows one from another.

The rule.  The application is the same everywhere, in the agent if the agent can serve it, else behind it on a loopback port.
Nobody writes a line for each caller or request: neither we, nor uvicorn, nor frp, which does not by default.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ...workshop import CrateSource, GoTools, ToolchainError
from . import ssh
from .ours import OURS, Ours, OursByHost, OursOverTls, OursWithPort
from .programs import DOMAIN, HOST, NAME, Program
from .served import uvicorn

if TYPE_CHECKING:
    from pathlib import Path

    from ...workshop import Source, Workshop
    from .served import Ports

__all__ = ("ALONE", "Setup", "setups")

ALONE = "uvicorn alone"
FRP = GoTools("frp")
CHISEL = GoTools("chisel")


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
    others = () if against is None else (Ours(f"{OURS} in {against}", against.resolve()),)
    return (
        Ours(),
        OursOverTls(),
        OursWithPort(),
        OursByHost(),
        *others,
        Frp(),
        FrpByHost(),
        Chisel(),
        Ssh(),
        Rathole(CrateSource("rathole", "0.5.0", ("server", "client"), debug=quick)),
        Alone(),
    )


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
        proxy = f'type = "tcp"\nremotePort = {ports.callers}\n'
        return _frp(workshop, ports, folder, "", proxy)


@dataclass(frozen=True, slots=True)
class FrpByHost:
    """frp, a proxy of type http, which leads each request by its Host."""

    name: str = "frp, HTTP"
    note: str = "v0.65.0; type http; TLS, its default; log level warn"

    def absence(self, workshop: Workshop) -> str:
        """Why it cannot take part."""
        return _unbuilt(workshop, FRP)

    def programs(self, workshop: Workshop, ports: Ports, folder: Path) -> tuple[Program, ...]:
        """``frps``, the application, ``frpc``."""
        proxy = f'type = "http"\ncustomDomains = ["{NAME}.{DOMAIN}"]\n'
        return _frp(workshop, ports, folder, f"vhostHTTPPort = {ports.callers}\n", proxy)


def _frp(
    workshop: Workshop, ports: Ports, folder: Path, door: str, proxy: str
) -> tuple[Program, ...]:
    server, client = folder / "frps.toml", folder / "frpc.toml"
    server.write_text(
        f'bindAddr = "{HOST}"\nbindPort = {ports.agents}\nproxyBindAddr = "{HOST}"\n'
        f'{door}log.level = "warn"\n'
    )
    client.write_text(
        f'serverAddr = "{HOST}"\nserverPort = {ports.agents}\nlog.level = "warn"\n'
        f'[[proxies]]\nname = "app"\n{proxy}localIP = "{HOST}"\nlocalPort = {ports.app}\n'
    )
    tools = workshop.program(FRP)
    return (
        Program([str(tools / "frps"), "-c", str(server)], ports.agents),
        uvicorn(ports.app),
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
            uvicorn(ports.app),
            Program([tool, "client", f"http://{HOST}:{ports.agents}", remote], ports.callers),
        )


@dataclass(frozen=True, slots=True)
class Ssh:
    """OpenSSH of this machine, or of its distribution; ``-R`` at the agent."""

    name: str = "ssh -R"
    note: str = "the distribution's OpenSSH, without a superuser's rights; encrypted"

    def absence(self, workshop: Workshop) -> str:
        """Why it cannot take part."""
        return ssh.absence(workshop)

    def programs(self, workshop: Workshop, ports: Ports, folder: Path) -> tuple[Program, ...]:
        """``sshd``, the application, ``ssh``."""
        server, client = ssh.programs(workshop, folder, ports.agents, ports.callers, ports.app)
        return server, uvicorn(ports.app), client


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
            uvicorn(ports.app),
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
        return (uvicorn(ports.callers),)


def _unbuilt(workshop: Workshop, source: Source) -> str:
    try:
        workshop.program(source)
    except ToolchainError as error:
        return f"it cannot be built: {error}"
    return ""
