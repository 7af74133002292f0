"""Is it ASGI or WSGI?  And what is said when it is neither, or cannot be loaded."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import flask
import pytest
from starlette.applications import Starlette

from muxado_py.cli.running import NotStarted
from muxado_py.cli.serving.serving import detect_interface, load

if TYPE_CHECKING:
    from pathlib import Path


async def asgi_function(scope: Any, receive: Any, send: Any) -> None: ...


def wsgi_function(environ: Any, start_response: Any) -> Any: ...


def asgi_by_returning(scope: Any, receive: Any, send: Any) -> Any:
    return asgi_function(scope, receive, send)


class AsgiObject:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    async def method(self, scope: Any, receive: Any, send: Any) -> None: ...


class WsgiObject:
    def __call__(self, environ: Any, start_response: Any) -> Any: ...


def make_app() -> AsgiObject:
    return AsgiObject()


@pytest.mark.parametrize(
    ("app", "interface"),
    [
        (asgi_function, "asgi"),
        (wsgi_function, "wsgi"),
        (asgi_by_returning, "asgi"),
        (AsgiObject(), "asgi"),
        (AsgiObject().method, "asgi"),
        (WsgiObject(), "wsgi"),
        (functools.partial(asgi_function), "asgi"),
        (Starlette(), "asgi"),
        (flask.Flask(__name__), "wsgi"),
    ],
)
def test_an_application_is_told_by_what_calling_it_would_do(app: Any, interface: str) -> None:
    assert detect_interface(app) == interface


@pytest.mark.parametrize(
    ("app", "hint"),
    [
        (42, "cannot be called"),
        (AsgiObject, "--factory"),
        (make_app, "--factory"),
    ],
)
def test_what_is_no_application_is_refused_with_a_way_out(app: Any, hint: str) -> None:
    with pytest.raises(NotStarted, match=hint):
        detect_interface(app)


@pytest.fixture
def app_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("sys.path", ["unused"])
    (tmp_path / "good_app.py").write_text("made = []\ndef make():\n    return made\n")
    (tmp_path / "broken_app.py").write_text("1 / 0\n")
    return str(tmp_path)


def test_an_application_is_found_in_the_app_dir(app_dir: str) -> None:
    assert load("good_app:made", app_dir, factory=False) == []


def test_a_factory_is_called(app_dir: str) -> None:
    assert load("good_app:make", app_dir, factory=True) == []


@pytest.mark.parametrize("name", ["no_such_module:app", "good_app:missing", "good_app"])
def test_a_name_that_leads_nowhere_does_not_start(app_dir: str, name: str) -> None:
    with pytest.raises(NotStarted, match=name.partition(":")[0]):
        load(name, app_dir, factory=False)


def test_an_application_that_fails_on_import_does_not_start(
    app_dir: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(NotStarted, match="division by zero"):
        load("broken_app:app", app_dir, factory=False)
    assert "ZeroDivisionError" in caplog.text
