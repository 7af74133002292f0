"""``python -m muxado_py`` is the ``muxado`` command, for when the script is not on the path."""

from __future__ import annotations

from .cli import main

__all__ = ()

if __name__ == "__main__":
    main()
