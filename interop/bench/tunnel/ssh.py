"""OpenSSH as a tunnel: ``sshd`` without a superuser's rights on a loopback port, and ``ssh -N -R``.

Keys, configuration and known hosts are made in the folder of the run, so that nothing of the user's is read or written.
Where this is run by the superuser, ``daemon`` runs both: an ``sshd`` of the superuser wants a user and a folder of its
own, and one of another user logs in that user alone.

The rule.  It is the machine's ``sshd``; where there is none, Debian's is fetched for the run, and nothing is installed.

The traps.  ``nobody`` would not do: systemd's name service says that the account is locked.  And the account may not
look into the folder that programs are fetched into, so they are copied.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from typing import TYPE_CHECKING

from ...workshop import DebianPrograms, ToolchainError
from .programs import HOST, Program

if TYPE_CHECKING:
    from pathlib import Path

    from ...workshop import Workshop

__all__ = ("absence", "programs")

ACCOUNT = "daemon"
DEBIAN = DebianPrograms(("openssh-server", "openssh-client", "libwrap0"))
TOOLS = ("sshd", "ssh", "ssh-keygen")


def absence(workshop: Workshop) -> str:
    """Why it cannot take part on this machine, or nothing."""
    if all(_tool(name) for name in TOOLS):
        return ""
    try:
        workshop.program(DEBIAN)
    except ToolchainError as error:
        return f"no sshd on this machine, and none to be had: {error}"
    return ""


def programs(
    workshop: Workshop, folder: Path, agents: int, callers: int, app: int
) -> tuple[Program, Program]:
    """The server, and the client that asks it to listen for callers."""
    tools, environment = _tools(workshop, folder)
    account = pwd.getpwnam(ACCOUNT) if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    user = account.pw_uid if os.geteuid() == 0 else None
    for name in ("host", "client"):
        command = [tools["ssh-keygen"], "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True, capture_output=True, env=os.environ | environment)
    settings = {
        "ListenAddress": f"{HOST}:{agents}",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "client.pub",
        "StrictModes": "no",  # the folder is below one that everybody writes into
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "PidFile": "none",
        "LogLevel": "ERROR",
    }
    configuration = folder / "sshd_config"
    configuration.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    if user is not None:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user, -1)
    options = ("BatchMode=yes", "ExitOnForwardFailure=yes", "StrictHostKeyChecking=no")
    hosts = f"UserKnownHostsFile={folder / 'known_hosts'}"
    flags = [it for option in (*options, hosts) for it in ("-o", option)]
    forward = ("-N", "-R", f"{HOST}:{callers}:{HOST}:{app}", "-i", str(folder / "client"))
    target = ("-p", str(agents), f"{account.pw_name}@{HOST}")
    client = [tools["ssh"], "-F", "none", *flags, *forward, *target]
    server = [tools["sshd"], "-D", "-e", "-f", str(configuration)]
    return Program(server, agents, environment, user), Program(client, callers, environment, user)


def _tools(workshop: Workshop, folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The path of each, and the environment that they need."""
    found = {name: _tool(name) for name in TOOLS}
    if all(found.values()):
        return found, {}
    unpacked, copies = workshop.program(DEBIAN), folder / "openssh"
    copies.mkdir()
    for path in unpacked.rglob("*"):
        is_tool = path.name in TOOLS and path.parent.name in ("bin", "sbin")  # not what sets it up
        if path.is_file() and (is_tool or path.name.startswith("libwrap.so")):
            shutil.copy(path, copies)
    return {name: str(copies / name) for name in TOOLS}, {"LD_LIBRARY_PATH": str(copies)}


def _tool(name: str) -> str:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin") or ""
