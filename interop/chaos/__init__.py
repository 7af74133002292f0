"""Chaos: clients that call, and servers that are killed, frozen, drained, cut off and started again under them.

What it is.  Three servers of calls and some clients, each a process; every client has a pool of the three, and reaches each
through a proxy of the command's.  One target at a time is in trouble, at random, all the time.  Each call has an id; a server
writes down an id when it begins with it (:mod:`.server`), a client what it was told (:mod:`.client`), and at the end both are compared
(:mod:`.oracle`).

The rule.  A call that was told to be safe to send again was executed by nobody; one that was told to be answered was
executed, and more than once only if it was idempotent.

``python -m interop.chaos --minutes 30`` is the long form; ``test_chaos.py`` has a short one.
"""

from __future__ import annotations

__all__ = ()
