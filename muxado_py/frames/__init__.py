"""Frames: one module for each byte format, behind the seam of :mod:`~muxado_py.frames.wire`.

A wire is registered here by its name in :class:`~muxado_py.Config`; nothing else in the package
names one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .muxado import Muxado
from .wire import Decoder, Receiver, Setting, Wire

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("WIRES", "Decoder", "Receiver", "Setting", "Wire")

WIRES: Mapping[str, type[Wire]] = {Muxado.name: Muxado}
