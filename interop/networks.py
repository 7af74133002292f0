"""What stands between agents and gateways in the world: an SSH server, proxies of HTTP and of SOCKS5, and two before a server.

What it is.  OpenSSH, tinyproxy, microsocks, nginx and haproxy, installed or as Debian has them, each running for one test, for
this machine alone.

The traps.  None of them takes a port of the system's choice, so a port is found first and may be lost to somebody else: then the
server ends, and another port is tried.  An sshd of root's wants a user of its own, who is not there where it was only unpacked.
"""

from __future__ import annotations

import getpass
import os
import pwd
import shlex
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .workshop import DebianPrograms, ToolchainError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .workshop import Workshop

__all__ = (
    "FRONTS",
    "find_program",
    "running_haproxy",
    "running_microsocks",
    "running_nginx",
    "running_sshd",
    "running_tinyproxy",
)

DEBIANS = {
    "sshd": DebianPrograms(("openssh-server", "openssh-client"), with_dependencies=True),
    "ssh": DebianPrograms(("openssh-server", "openssh-client"), with_dependencies=True),
    "ssh-keygen": DebianPrograms(("openssh-server", "openssh-client"), with_dependencies=True),
    "tinyproxy": DebianPrograms(("tinyproxy-bin",), with_dependencies=True),
    "microsocks": DebianPrograms(("microsocks",), with_dependencies=True),
    "nginx": DebianPrograms(("nginx",), with_dependencies=True),
    "haproxy": DebianPrograms(("haproxy",), with_dependencies=True),
}
PATIENCE = 20.0
ATTEMPTS = 5
HERE = "127.0.0.1"


def find_program(name: str, workshop: Workshop, *, fetch: bool) -> list[str]:
    """The command that starts one.

    :param fetch: whether it may be fetched from Debian if there is none.
    :raises ToolchainError: if there is none.
    """
    if found := shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
        return [found]
    if not fetch:
        raise ToolchainError(f"no {name} in PATH")
    folder = workshop.program(DEBIANS[name])
    libraries = dict.fromkeys(str(one.parent) for one in sorted(folder.rglob("*.so*")))
    [program] = (
        one for one in folder.rglob(f"*bin/{name}") if one.is_file() and os.access(one, os.X_OK)
    )
    return ["/usr/bin/env", f"LD_LIBRARY_PATH={':'.join(libraries)}", str(program)]


@contextmanager
def _running(start: Callable[[int], Sequence[str]]) -> Iterator[int]:
    """A server that ``start`` has the command of, for a port; the port."""
    for _ in range(ATTEMPTS):
        with socket.socket() as free:
            free.bind((HERE, 0))
            port = int(free.getsockname()[1])
        with subprocess.Popen(start(port), stdin=subprocess.DEVNULL) as process:
            try:
                if _answers(process, port):
                    yield port
                    return
            finally:
                process.terminate()
    raise AssertionError(f"{start(0)[0]} does not start")


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    ends = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < ends:
        with socket.socket() as visitor:
            if visitor.connect_ex((HERE, port)) == 0:
                return True
        time.sleep(0.02)
    return False


@contextmanager
def running_tinyproxy(command: list[str], folder: Path, *options: str) -> Iterator[int]:
    """A proxy of HTTP, which wants ``us`` and ``s3cret`` to be shown.

    :param options: more lines of its configuration.
    """

    def start(port: int) -> list[str]:
        lines = (f"Port {port}", f"Listen {HERE}", "BasicAuth us s3cret", "Timeout 600", *options)
        (folder / "tinyproxy.conf").write_text("".join(f"{line}\n" for line in lines))
        return [*command, "-d", "-c", str(folder / "tinyproxy.conf")]

    with _running(start) as port:
        yield port


@contextmanager
def running_microsocks(command: list[str]) -> Iterator[int]:
    """A proxy of SOCKS5, which wants the same."""
    with _running(
        lambda port: [*command, "-i", HERE, "-p", str(port), "-u", "us", "-P", "s3cret"]
    ) as port:
        yield port


@contextmanager
def running_nginx(
    command: list[str], folder: Path, upstream: int, silence: int | None = None
) -> Iterator[int]:
    """A web server that gives the websockets of ``/tunnel`` to a port of this machine, as its documentation says.

    :param silence: seconds after which it ends one that is silent; by default its own, which are 60.
    """
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    passed = (
        f"proxy_pass http://{HERE}:{upstream};",
        "proxy_http_version 1.1;",
        "proxy_set_header Upgrade $http_upgrade;",
        'proxy_set_header Connection "upgrade";',
        "" if silence is None else f"proxy_read_timeout {silence}s;",
    )

    def start(port: int) -> list[str]:
        (folder / "nginx.conf").write_text(
            f"daemon off; pid {folder}/pid; error_log {folder}/errors;\n"
            f"{'user root;' if not os.geteuid() else ''} events {{}}\n"
            f"http {{ access_log off; {temporary} server {{ listen {HERE}:{port};\n"
            f"location /tunnel {{ {' '.join(passed)} }} }} }}\n"
        )
        return [*command, "-c", str(folder / "nginx.conf"), "-e", str(folder / "errors")]

    with _running(start) as port:
        yield port


@contextmanager
def running_haproxy(
    command: list[str], folder: Path, upstream: int, silence: int | None = None
) -> Iterator[int]:
    """A proxy that gives all that it is asked to a port of this machine; a websocket needs no word of its own.

    :param silence: seconds after which it ends a connection that is silent; by default what Debian's configuration says,
        which are 50. It has no default of its own, and warns who sets none.
    """
    times = {"connect": 5, "client": silence or 50, "server": silence or 50}

    def start(port: int) -> list[str]:
        lines = (
            "defaults",
            "mode http",
            *(f"timeout {name} {seconds}s" for name, seconds in times.items()),
            "listen tunnels",
            f"bind {HERE}:{port}",
            f"server gateway {HERE}:{upstream}",
        )
        (folder / "haproxy.cfg").write_text("".join(f"{line}\n" for line in lines))
        return [*command, "-db", "-f", str(folder / "haproxy.cfg")]

    with _running(start) as port:
        yield port


FRONTS = {"nginx": running_nginx, "haproxy": running_haproxy}
"""What stands before servers, by its name."""


@contextmanager
def running_sshd(programs: Sequence[list[str]], folder: Path) -> Iterator[list[str]]:
    """An SSH server that lets the user of this process in; the command of a client that it lets in.

    :param programs: ``sshd``, ``ssh-keygen`` and ``ssh``.
    """
    command, keygen, client = programs
    for name in ("host", "user"):
        key_file = str(folder / name)
        subprocess.run([*keygen, "-q", "-t", "ed25519", "-N", "", "-f", key_file], check=True)
    shutil.copy(folder / "user.pub", folder / "authorized")

    def start(port: int) -> list[str]:
        options = {
            "Port": str(port),
            "ListenAddress": HERE,
            "HostKey": str(folder / "host"),
            "AuthorizedKeysFile": str(folder / "authorized"),
            "PidFile": "none",
            "StrictModes": "no",
            "UsePAM": "no",
            "PasswordAuthentication": "no",
            "LogLevel": "ERROR",
        }
        lines = "".join(f"{name} {value}\n" for name, value in options.items())
        (folder / "sshd_config").write_text(lines)
        return _with_user([*command, "-D", "-e", "-f", str(folder / "sshd_config")], folder)

    with _running(start) as port:
        key = (folder / "host.pub").read_text()
        (folder / "known").write_text(f"[{HERE}]:{port} {key}")
        reaching = [*client, "-F", "none", "-p", str(port), "-i", str(folder / "user")]
        options = ("BatchMode=yes", "IdentitiesOnly=yes", f"UserKnownHostsFile={folder / 'known'}")
        for option in options:
            reaching += ["-o", option]
        yield [*reaching, f"{getpass.getuser()}@{HERE}"]


def _with_user(command: list[str], folder: Path) -> list[str]:
    """The same where an sshd finds the user that it gives its rights up to."""
    if os.geteuid():
        return command  # it has none to give up
    os.makedirs("/run/sshd", exist_ok=True)
    try:
        pwd.getpwnam("sshd")
    except KeyError:
        users = Path("/etc/passwd").read_text() + "sshd:x:399:65534::/run/sshd:/usr/sbin/nologin\n"
        (folder / "passwd").write_text(users)
        hide = f'mount --bind {shlex.quote(str(folder / "passwd"))} /etc/passwd && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", hide, "sh", *command]
    return command
