"""The HTTP door of the gateway: each request goes by its Host to an agent that serves the name.

What it is made of, in the order in which it is best read:

* ``fields``, ``requests``, ``answers`` and ``bodies`` know no IO: bytes in one reading only, and the one form in which they are
  passed on; ``passing`` brings an answer from one to the other.
* ``routes`` has the names, ``fronts`` says who asks, ``rates`` how often one may, ``limits`` how long all may take;
  ``host`` holds what is one for all callers of a door.
* With a task: ``inbox`` is what a caller has said, ``uploads`` what agents get of it, ``exchange`` one request and its
  answer, ``conversation`` all of one caller.  All rules of a request are here.
* Without one, as long as all goes as usual: ``prepared`` is a request that came whole, ``asked`` what an agent has of it,
  ``guest_end`` the socket with its ``deadline``, ``regulars`` one caller.  Whatever is not usual goes to a conversation, and
  the caller comes back from it.
* ``guests`` are all callers, and ``accounts`` what is written down of them.
"""

from __future__ import annotations

__all__ = ()
