"""Our own set-ups: the gateway and the agent of this checkout, in the clear, over TLS, with a local port and with the HTTP door,
and of another one.

The rule.  What the command line gives without being asked is what is measured; only the number of callers that the gateway
takes at once is raised, because idle ones are more than its default.  And it writes no line for each caller or request, for nobody
else does who is measured here.

The trap.  A checkout is put in front of what is installed by ``PYTHONPATH``, and ``python -m`` looks into the current directory
first: programs run in a folder of their own.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .programs import DOMAIN, HOST, NAME, Program
from .served import APP, KEEP_ALIVE, Ports, uvicorn

if TYPE_CHECKING:
    from ...workshop import Workshop

__all__ = (
    "OURS",
    "OURS_HTTP",
    "OURS_PORT",
    "OURS_TLS",
    "Ours",
    "OursByHost",
    "OursOverTls",
    "OursWithPort",
)

ROOT = Path(__file__).resolve().parents[3]
OURS, OURS_TLS, OURS_PORT = "muxado_py", "muxado_py, TLS", "muxado_py, a port"
OURS_HTTP = "muxado_py, HTTP"
ROOM = "2000"
"""Callers at once; by default 500."""


@dataclass(frozen=True, slots=True)
class Ours:
    """``muxado gateway`` and ``muxado serve`` of a checkout."""

    name: str = OURS
    tree: Path = ROOT
    note: str = "in the clear, its default"

    def absence(self, workshop: Workshop) -> str:
        """Why it cannot take part."""
        return "" if (self.tree / "muxado_py").is_dir() else f"no muxado_py in {self.tree}"

    def programs(self, workshop: Workshop, ports: Ports, folder: Path) -> tuple[Program, ...]:
        """The gateway and the agent, which has the application."""
        url = f"tcp://{HOST}:{ports.agents}"
        return _gateway(self.tree, url, ports), _agent(self.tree, url)


@dataclass(frozen=True, slots=True)
class OursOverTls:
    """The same of this checkout, with what ``muxado certs`` makes: each side asks for the other's certificate."""

    name: str = OURS_TLS
    note: str = "TLS, with certificates of both sides"

    def absence(self, workshop: Workshop) -> str:
        """Never: what it needs is of the extra ``test``."""
        return ""

    def programs(self, workshop: Workshop, ports: Ports, folder: Path) -> tuple[Program, ...]:
        """The gateway and the agent, which has the application."""
        certs = _muxado(ROOT, 0, "certs", str(folder))
        around = certs.surroundings()
        subprocess.run(certs.command, cwd=folder, env=around, check=True, capture_output=True)
        url = f"tls://{HOST}:{ports.agents}"
        gateway = _gateway(ROOT, url, ports, flags=_identity(folder, "gateway"))
        return gateway, _agent(ROOT, url, *_identity(folder, "agent"))


@dataclass(frozen=True, slots=True)
class OursWithPort:
    """A plain byte tunnel: the agent offers the port of an application that runs beside it, as the others do."""

    name: str = OURS_PORT
    note: str = "in the clear; the application is on a port behind the agent"

    def absence(self, workshop: Workshop) -> str:
        """Never."""
        return ""

    def programs(self, workshop: Workshop, ports: Ports, folder: Path) -> tuple[Program, ...]:
        """The gateway, the application, and the agent."""
        url, app = f"tcp://{HOST}:{ports.agents}", f"tcp://{HOST}:{ports.app}"
        agent = _muxado(ROOT, 0, "serve", app, "--connect", url)
        return _gateway(ROOT, url, ports), uvicorn(ports.app), agent


@dataclass(frozen=True, slots=True)
class OursByHost:
    """The HTTP door: each request goes by its Host."""

    name: str = OURS_HTTP
    tree: Path = ROOT
    note: str = "in the clear; each request by its Host"

    def absence(self, workshop: Workshop) -> str:
        """Never."""
        return ""

    def programs(self, workshop: Workshop, ports: Ports, folder: Path) -> tuple[Program, ...]:
        """The gateway and the agent, which has the application."""
        url = f"tcp://{HOST}:{ports.agents}"
        door = ("--http", f"{HOST}:{ports.callers}", "--domain", DOMAIN)
        return _gateway(self.tree, url, ports, door), _agent(self.tree, url, "--name", NAME)


def _identity(folder: Path, name: str) -> tuple[str, ...]:
    certificate = (
        "--ssl-certfile",
        f"{folder}/{name}.pem",
        "--ssl-keyfile",
        f"{folder}/{name}.key",
    )
    return *certificate, "--ssl-ca-certs", f"{folder}/ca.pem"


def _gateway(
    tree: Path, url: str, ports: Ports, door: tuple[str, ...] = (), flags: tuple[str, ...] = ()
) -> Program:
    door = door or ("--publish", f"{HOST}:{ports.callers}")
    flags += ("--limit-concurrency", ROOM, "--no-access-log")
    return _muxado(tree, ports.agents, "gateway", "--listen", url, *door, *flags)


def _agent(tree: Path, url: str, *flags: str) -> Program:
    quiet = ("--no-access-log", "--lifespan", "off", "--timeout-keep-alive", f"{KEEP_ALIVE}s")
    return _muxado(tree, 0, "serve", *APP, "--connect", url, *quiet, *flags)


def _muxado(tree: Path, port: int, *arguments: str) -> Program:
    command = [sys.executable, "-m", "muxado_py", *arguments]
    return Program(command, port, {"PYTHONPATH": str(tree)})
