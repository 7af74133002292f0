"""Three gateways and a Redis server, many agents behind them, callers before them, and what happens when one fails.

What it is.  ``python -m interop.cluster``: :mod:`.cluster` starts the processes, :mod:`.agents` is the one that has all agents,
:mod:`.callers` asks with an id in each request, by way of a balancer, and :mod:`.scenarios` does the harm.

The oracle.  The application writes down each id before it answers (:mod:`.journal`).  Whatever happens, none may be
written twice, none may be missing that was answered, and none may be there of which the caller was told that it was not executed.
"""

from __future__ import annotations

__all__ = ()
