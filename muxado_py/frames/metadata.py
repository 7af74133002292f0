"""Metadata: what the opener of a stream says of it, as pairs of a key and a value.

What it is.  The body of the frame that opens such a stream, both ways: from a mapping of the application's to bytes,
and back.  A pair is the length of its key in one byte, that of its value in two, the key, and the value; they follow
one another to the end of the body::

    00000000: 06 000e  63 61 6c 6c 65 72  31 39 32 2e ...
              key      "caller"           "192.0.2.7:4711"
                 value

Where it is kept.  As the bytes that came, with the stream, until somebody asks: 4 KiB of short pairs are some 100 KiB
in a dict, and every stream that a peer opens may have them.

The rule.  The bounds are the same in both directions.  Whoever opens a stream is told at the call; what a peer sends
beyond them breaks the format, and is found out before the stream is made: no application asks for what cannot
be read.

How it is quick.  A gateway does both for each caller: what is right in a key is remembered, and there is no other call of our
own in either loop.  And what many streams say alike is packed once.

The trap.  A key is a name for programs, not a text: it is visible ASCII, so that it can stand in a log as it is.  A value
is whatever its writer put there, and says what its writer wants it to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct

__all__ = ("MAX_METADATA", "Prepared", "pack", "unpack")

MAX_METADATA = 4096
"""Bytes of all pairs of one stream, with the lengths."""

MAX_KEY = 255

KNOWN_KEYS = 64
"""The first so many keys need not be looked at again: a program has few, and says them for each stream."""

_packed_keys: dict[str, bytes] = {}
_read_keys: dict[bytes, str] = {}

_SIZES = Struct(">BH")
_OCTETS = (bytes, bytearray, memoryview)


class Prepared(dict[str, bytes]):
    """Pairs that were packed once, for many streams, and are not to be changed.

    :raises: as :func:`pack`.
    """

    __slots__ = ("packed",)

    def __init__(self, metadata: Mapping[str, bytes]) -> None:
        self.packed = pack(metadata)
        super().__init__(metadata)


def pack(metadata: Mapping[str, bytes]) -> bytes:
    """The pairs as they stand in the frame.

    :raises TypeError: if it is no mapping of ``str`` to ``bytes``.
    :raises ValueError: if a key is not 1 to 255 characters of visible ASCII, or all is too long.
    """
    if type(metadata) is Prepared:
        return metadata.packed
    if type(metadata) is not dict and not isinstance(metadata, Mapping):
        raise TypeError(f"metadata must be a mapping of str to bytes, got {metadata!r:.80}")
    packed = b""
    for key, value in metadata.items():
        if not isinstance(key, str):
            raise TypeError(f"a key of metadata must be a str, got {key!r:.80}")
        name = _packed_keys.get(key) or _pack_key(key)
        if type(value) is not bytes and not isinstance(value, _OCTETS):
            raise TypeError(f"metadata[{key!r:.80}] must be bytes, got {value!r:.80}")
        octets = bytes(value)
        size = len(octets)
        if len(packed) + _SIZES.size + len(name) + size > MAX_METADATA:
            raise ValueError(
                f"metadata takes more than {MAX_METADATA} bytes: {_SIZES.size} for each pair, the key and the value"
            )
        packed += _SIZES.pack(len(name), size) + name + octets
    return packed


def _pack_key(key: str) -> bytes:
    if not (0 < len(key) <= MAX_KEY and key.isascii() and key.isprintable() and " " not in key):
        raise ValueError(
            f"a key of metadata must be 1 to {MAX_KEY} characters of visible ASCII, got {key!r:.80}"
        )
    name = key.encode()
    if len(_packed_keys) < KNOWN_KEYS:
        _packed_keys[key] = name
    return name


def unpack(body: bytes) -> dict[str, bytes]:
    """The pairs that stand in ``body``.

    :raises ValueError: if it is not made of such pairs; the message says what is wrong with it.
    """
    pairs: dict[str, bytes] = {}
    at, end = 0, len(body)
    while at < end:
        if end - at < _SIZES.size:
            raise ValueError("ends in the middle of a pair")
        begin = at + 3
        value = begin + body[at]
        stop = value + (body[at + 1] << 8) + body[at + 2]
        if stop > end:
            raise ValueError("ends in the middle of a pair")
        name = body[begin:value]
        key = _read_keys.get(name) or _read_key(name)
        if key in pairs:
            raise ValueError(f"has the key {key!r:.80} twice")
        pairs[key] = body[value:stop]
        at = stop
    return pairs


def _read_key(name: bytes) -> str:
    key = name.decode("latin-1")
    if not (key and key.isascii() and key.isprintable() and " " not in key):
        raise ValueError(f"has the key {key!r:.80}")
    if len(_read_keys) < KNOWN_KEYS:
        _read_keys[name] = key
    return key
