"""The HTTP door of the gateway: each request goes by its Host to an agent that serves the name.

``fields``, ``requests``, ``answers`` and ``bodies`` know no IO: bytes in one reading only, and the one form in which they are
passed on.  ``routes`` has the names; ``inbox`` what a caller has said; ``exchange`` one request and its answer, ``conversation``
all of one caller, ``guests`` all callers.
"""

from __future__ import annotations

__all__ = ()
