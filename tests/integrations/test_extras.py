"""What is imported when, and what is said when it is not there."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from muxado_py.integrations import (
    MissingExtraError,
    StartupError,
    aiohttp_connector,
    httpx_client,
    requests_adapter,
    serve_asgi,
    serve_wsgi,
)
from muxado_py.integrations.loading import load_app

if TYPE_CHECKING:
    from pathlib import Path

    from ..conftest import SessionPair

ANYIO = {"anyio", "idna", "sniffio", "typing_extensions"}


def test_importing_the_package_imports_nothing_but_anyio() -> None:
    program = (
        "import sys; before = set(sys.modules); import muxado_py, muxado_py.integrations; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    imported = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout.split()
    assert set(imported) - sys.stdlib_module_names - ANYIO == {"muxado_py"}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("library", "extra"),
    [
        ("uvicorn", "uvicorn"),
        ("anycorn", "anycorn"),
        ("waitress", "wsgi"),
        ("httpx2", "httpx2"),
        ("httpx", "httpx"),
        ("aiohttp", "aiohttp"),
        ("requests", "requests"),
    ],
)
async def test_a_missing_extra_is_named_with_the_command(
    session_pair: SessionPair,
    monkeypatch: pytest.MonkeyPatch,
    library: str,
    extra: str,
    anyio_backend_name: str,
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    async with session_pair() as (session, _):
        use: dict[str, Any] = {
            "uvicorn": lambda: serve_asgi("a:b", session.net_listener(), server="uvicorn"),
            "anycorn": lambda: serve_asgi("a:b", session.net_listener(), server="anycorn"),
            "waitress": lambda: serve_wsgi("a:b", session.net_listener()),
        }
        if library == "uvicorn" and anyio_backend_name == "trio":
            with pytest.raises(RuntimeError, match="anycorn"):
                await use[library]()
            return
        with pytest.raises(MissingExtraError) as missing:
            if library == "aiohttp":
                aiohttp_connector(session)
            elif library == "requests":
                requests_adapter(cast("Any", SimpleNamespace(open_socket=None)))
            elif library in use:
                await use[library]()
            else:
                httpx_client(session, module=library)  # type: ignore[call-overload]
    assert missing.value.extra == extra
    assert f"pip install 'muxado-py[{extra}]'" in str(missing.value)


@pytest.mark.anyio
async def test_the_client_is_not_taken_from_what_happens_to_be_installed(
    session_pair: SessionPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "httpx2", None)  # while httpx is there
    async with session_pair() as (session, _):
        with pytest.raises(MissingExtraError, match=r"httpx2.*module='httpx'") as missing:
            httpx_client(session)
    assert missing.value.name == "httpx2"


def test_what_a_library_itself_misses_is_not_blamed_on_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "half_installed.py").write_text("import no_such_module")
    monkeypatch.syspath_prepend(tmp_path)
    from muxado_py.runtime.extras import require

    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        require("half_installed", "half")


def test_an_application_is_found_by_its_name() -> None:
    assert load_app("sys:flags.debug") == sys.flags.debug
    assert load_app(test_an_application_is_found_by_its_name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("app", "write 'package.module:attribute'"),
        ("app:", "write 'package.module:attribute'"),
        ("no_such.thing:app", "no module 'no_such' on the import path"),
        ("muxado_py.no_such:app", r"no module 'muxado_py\.no_such'"),
        ("muxado_py:no_such", "'muxado_py' has no 'no_such'"),
    ],
)
def test_a_name_that_names_nothing_is_said(name: str, message: str) -> None:
    with pytest.raises(StartupError, match=message):
        load_app(name)


def test_what_an_applications_module_misses_is_said_as_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "broken_app.py").write_text("import no_such_module")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        load_app("broken_app:app")
