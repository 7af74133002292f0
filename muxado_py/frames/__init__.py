"""Frames: one module for each byte format, behind the seam of :mod:`~muxado_py.frames.wire`.

A wire is registered in :mod:`~muxado_py.frames.detect` by its name in
:class:`~muxado_py.Config`; nothing else in the package names one.
"""

from __future__ import annotations

from .detect import AUTO, HEAD, WIRES, candidates, mistaken, stranger
from .metadata import MAX_METADATA, Prepared, pack, unpack
from .wire import UNLIMITED, Decoder, Receiver, Setting, Traits, Wire

__all__ = (
    "AUTO",
    "HEAD",
    "MAX_METADATA",
    "UNLIMITED",
    "WIRES",
    "Decoder",
    "Prepared",
    "Receiver",
    "Setting",
    "Traits",
    "Wire",
    "candidates",
    "mistaken",
    "pack",
    "stranger",
    "unpack",
)
