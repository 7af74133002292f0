"""OpenSSH as a tunnel: ``sshd`` without a superuser's rights on a loopback port, and ``ssh -N -R``.

Keys, configuration and known hosts are made in the folder of the run, so that nothing of the user's is read or written.
Where this is run by the superuser, ``daemon`` runs both: an ``sshd`` of the superuser wants a user and a folder of its
own, and one of another user logs in that user alone.

The rule.  It is the machine's ``sshd``; where there is none, that is said, and nothing is installed.

The trap.  ``nobody`` would not do: systemd's name service says that the account is locked.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from typing import TYPE_CHECKING

from .programs import HOST, Program

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ("absence", "programs", "version")

ACCOUNT = "daemon"


def absence() -> str:
    """Why it cannot take part on this machine, or nothing."""
    missing = [name for name in ("sshd", "ssh", "ssh-keygen") if not _tool(name)]
    return f"no {' and '.join(missing)} on this machine" if missing else ""


def version() -> str:
    """As it calls itself."""
    ssh = _tool("ssh")
    said = subprocess.run([ssh, "-V"], capture_output=True, text=True, check=False) if ssh else None
    return said.stderr.partition(",")[0].strip() if said else "none"


def programs(folder: Path, agents: int, callers: int, app: int) -> tuple[Program, Program]:
    """The server, and the client that asks it to listen for callers."""
    account = pwd.getpwnam(ACCOUNT) if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    user = account.pw_uid if os.geteuid() == 0 else None
    for name in ("host", "client"):
        command = [_tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True, capture_output=True)
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
        for path in (folder, *folder.iterdir()):
            os.chown(path, user, -1)
    options = ("BatchMode=yes", "ExitOnForwardFailure=yes", "StrictHostKeyChecking=no")
    hosts = f"UserKnownHostsFile={folder / 'known_hosts'}"
    flags = [it for option in (*options, hosts) for it in ("-o", option)]
    forward = ("-N", "-R", f"{HOST}:{callers}:{HOST}:{app}", "-i", str(folder / "client"))
    target = ("-p", str(agents), f"{account.pw_name}@{HOST}")
    client = [_tool("ssh"), "-F", "none", *flags, *forward, *target]
    server = [_tool("sshd"), "-D", "-e", "-f", str(configuration)]
    return Program(server, agents, user=user), Program(client, callers, user=user)


def _tool(name: str) -> str:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin") or ""
