"""From what the user calls "the app" to an object that can be called, or a sentence why not.

What it is.  ``serve_asgi`` and ``serve_wsgi`` take the application itself or its name in the form
that every Python server knows, ``"package.module:attribute"``.  The servers' own loaders print and
call ``sys.exit``, which is no way to treat a host process; this one raises.

The trap.  An ``ImportError`` raised *inside* the application's module must reach the user as it is:
it names what is really missing.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ("StartupError", "load_app")


class StartupError(RuntimeError):
    """The application could not be found, or said in its lifespan that it cannot start."""


def load_app(app: Any) -> Any:
    """``app`` itself, or what the string ``"module:attribute"`` (dots allowed in both) names.

    :raises StartupError: if the string has another form, or names what does not exist.
    """
    if not isinstance(app, str):
        return app
    module_name, _, attributes = app.partition(":")
    if not module_name or not attributes:
        raise StartupError(f"{app!r} names no application: write 'package.module:attribute'")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{module_name}.".startswith(f"{exc.name}."):
            raise
        raise StartupError(
            f"{app!r}: there is no module {exc.name!r} on the import path; "
            "is the working directory right?"
        ) from exc
    for attribute in attributes.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError as exc:
            raise StartupError(f"{app!r}: {module_name!r} has no {attributes!r}") from exc
    return found
