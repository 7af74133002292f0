"""Builds the puppets: every version of every library, each once a run, when a test first needs it.

Where data comes from and goes to.  A :class:`GoSource`, :class:`DebianSource` or :class:`RustSource`
says what program to build and against which published version, a :class:`GoTools` or :class:`CrateSource` which
published program; :class:`Workshop` keeps what was built
in a directory of the run, and nothing of it in the source tree.  The processes of a run may share the
directory: the first that needs a program builds it, and the others wait.  So may runs: what was built of other sources
than today's is not taken.

The rule.  Versions are pinned exactly: the Go ones here, against ``interop/go/go.sum``; those of Go's tools in a ``go.mod``
of their own; the Rust one in ``interop/rust/Cargo.toml``, a crate's with its source; the Debian one by its version and its
SHA-256.

The trap.  ``go.sum`` holds more than ``go.mod`` asks for, and ``go mod tidy`` would drop it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = (
    "BUILD_TIMEOUT",
    "CrateSource",
    "DebianPrograms",
    "DebianSource",
    "GoSource",
    "GoTools",
    "RustSource",
    "Source",
    "ToolchainError",
    "Workshop",
)

HERE = Path(__file__).parent
BUILD_TIMEOUT = 900.0  # seconds, on two slow cores with a suite beside; the first build compiles Go's standard library too
QUICKLY = ("--debug", "--config", "profile.dev.debug=false")


class ToolchainError(Exception):
    """A puppet could not be built; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class GoSource:
    """A main package in ``interop/go``, built against one version of one module, or of none."""

    package: str
    module: str = ""
    """``path@version``; nothing for what needs Go's standard library alone."""
    tags: str = ""


@dataclass(frozen=True, slots=True)
class DebianSource:
    """A main package in ``interop/go``, built against a module that Debian still publishes.

    Go's module proxy cannot serve it, as its repository's history was rewritten since.
    """

    package: str
    module: str
    """The path under which the package imports it, and under which Debian installs it."""
    debian: str
    """``package=version``"""
    sha256: str


@dataclass(frozen=True, slots=True)
class DebianPrograms:
    """Programs of Debian's, unpacked and not installed: what is built is the folder that they are in.

    The packages have the versions that Debian gives at the time: it keeps no other for long.
    """

    packages: tuple[str, ...]
    with_dependencies: bool = False
    """Whether what they need and this machine has not installed is in the folder too."""


@dataclass(frozen=True, slots=True)
class RustSource:
    """The crate in ``interop/rust``, which pins its versions itself."""


@dataclass(frozen=True, slots=True)
class GoTools:
    """Published programs: the tools that a ``go.mod`` in ``interop/go/tunnels`` names; what is built is a folder of them.

    A module for each publisher, so that each has the versions of its dependencies that it asks for.
    """

    module: str


@dataclass(frozen=True, slots=True)
class CrateSource:
    """A published program, from crates.io; its dependencies are the newest that it allows."""

    crate: str
    version: str
    features: tuple[str, ...]
    debug: bool = False
    """Compiled in half the time, and slow."""


Source = GoSource | DebianSource | DebianPrograms | RustSource | GoTools | CrateSource


class Workshop:
    """Builds into one directory, and remembers what it built and what it could not build."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._built: dict[Source, Path | ToolchainError] = {}

    def program(self, source: Source) -> Path:
        """The program built from ``source``, by whichever process came first.

        :raises ToolchainError: if a toolchain or a published source is missing, or the build fails.
        """
        if source not in self._built:
            self._built[source] = self._find_or_build(source)
        result = self._built[source]
        if isinstance(result, ToolchainError):
            raise result
        return result

    def _find_or_build(self, source: Source) -> Path | ToolchainError:
        about = hashlib.sha256(repr(source).encode())
        for path in sorted(it for name in ("go", "rust") for it in (HERE / name).rglob("*")):
            about.update(path.read_bytes() if path.is_file() else b"")
        place = self._directory / about.hexdigest()[:16]
        place.mkdir(parents=True, exist_ok=True)
        result = place / "result.json"
        with (place / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not result.exists():
                directory = place / "build"
                directory.mkdir()
                try:
                    said = {"program": str(_build(source, directory))}
                except ToolchainError as error:
                    said = {"error": str(error)}
                result.write_text(json.dumps(said))
            said = json.loads(result.read_text())
        return Path(said["program"]) if "program" in said else ToolchainError(said["error"])


def _build(source: Source, directory: Path) -> Path:
    match source:
        case GoSource(package, module, tags):
            edit = f"-require={module}" if module else "-go=1.24"
            return _build_go(directory, package, edit, "-tags", tags)
        case DebianSource(package, module):
            unpacked = _unpack(source, directory)
            return _build_go(directory, package, f"-replace={module}={unpacked}")
        case DebianPrograms(packages, with_dependencies):
            if with_dependencies:
                packages = _missing(packages, directory)
            for archive in _download(packages, directory):
                _extract(archive, directory)
            return directory
        case RustSource():
            return _build_rust(directory)
        case GoTools(module):
            return _build_go_tools(directory, module)
        case CrateSource():
            return _install_crate(directory, source)


def _build_go(directory: Path, package: str, edit: str, *flags: str) -> Path:
    go = _go()
    for name in ("go.mod", "go.sum"):
        shutil.copy(HERE / "go" / name, directory)
    modules = directory / "go.mod"
    program = directory / package
    _run([go, "mod", "edit", edit, str(modules)], directory)
    build = [go, "build", "-buildvcs=false", f"-modfile={modules}", "-mod=mod", *flags]
    _run([*build, "-o", str(program), f"./{package}"], HERE / "go")
    return program


def _build_go_tools(directory: Path, module: str) -> Path:
    for name in ("go.mod", "go.sum"):
        shutil.copy(HERE / "go" / "tunnels" / module / name, directory)
    tools = directory / "bin"
    tools.mkdir()
    _run([_go(), "build", "-buildvcs=false", "-trimpath", "-o", f"{tools}/", "tool"], directory)
    return tools


def _go() -> str:
    return _tool("go", "/usr/local/go/bin", "install Go 1.25.1 or newer")


def _unpack(source: DebianSource, directory: Path) -> Path:
    """Fetch Debian's package and make its content a Go module."""
    [package] = _download((source.debian,), directory)
    found = hashlib.sha256(package.read_bytes()).hexdigest()
    if found != source.sha256:
        raise ToolchainError(f"{package.name} has SHA-256 {found}, not {source.sha256}")
    _extract(package, directory)
    module = directory / "usr/share/gocode/src" / source.module
    (module / "go.mod").write_text(f"module {source.module}\n")
    return module


def _download(packages: Sequence[str], directory: Path) -> list[Path]:
    """Debian's packages."""
    _apt(["download", *packages], directory)
    return sorted(directory.glob("*.deb"))


def _missing(packages: Sequence[str], directory: Path) -> tuple[str, ...]:
    """The packages, and those that would be installed with them."""
    said = _apt(["install", "--simulate", "--no-install-recommends", *packages], directory)
    wanted = [line.split()[1] for line in said.splitlines() if line.startswith("Inst ")]
    return tuple(dict.fromkeys([*packages, *wanted]))


def _apt(arguments: list[str], directory: Path) -> str:
    """One at a time: others would find the lists locked that one of them asks for."""
    apt = _tool("apt-get", "/usr/bin", "this needs Debian")
    with (directory.parent.parent / "apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            return _run([apt, *arguments], directory)
        except ToolchainError:  # nobody asked for Debian's lists yet, or they are old
            _run([apt, "update"], directory)
            return _run([apt, *arguments], directory)


def _extract(package: Path, directory: Path) -> None:
    dpkg = _tool("dpkg-deb", "/usr/bin", "this needs Debian")
    _run([dpkg, "--extract", str(package), str(directory)], directory)


def _build_rust(directory: Path) -> Path:
    cargo = _cargo()
    crate = directory / "puppet"
    shutil.copytree(HERE / "rust", crate)  # Cargo writes its lock file beside the manifest
    _run([cargo, "build", "--release", "--quiet", "--target-dir", str(directory)], crate)
    return directory / "release" / "puppet"


def _install_crate(directory: Path, source: CrateSource) -> Path:
    install = [_cargo(), "install", "--quiet", source.crate, "--version", f"={source.version}"]
    features = ["--no-default-features", "--features", ",".join(source.features)]
    places = ["--root", str(directory), "--target-dir", str(directory / "target")]
    _run([*install, *features, *places, *(QUICKLY if source.debug else ())], directory)
    return directory / "bin" / source.crate


def _cargo() -> str:
    return _tool("cargo", str(Path.home() / ".cargo/bin"), "install Rust 1.88 or newer")


def _tool(name: str, usual_place: str, advice: str) -> str:
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{usual_place}")
    if path is None:
        raise ToolchainError(f"no `{name}` in PATH or {usual_place}: {advice}")
    return path


def _run(command: list[str], directory: Path) -> str:
    """What it writes to its stdout."""
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            check=True,
            capture_output=True,
            text=True,
            timeout=BUILD_TIMEOUT,
        )
    except subprocess.CalledProcessError as error:
        raise ToolchainError(f"{' '.join(command)}\n{error.stderr}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolchainError(f"{' '.join(command)}: {error}") from error
    return done.stdout
