"""Several gateways that serve as one: what an agent registers at any of them, callers of each reach.

What it is.  :mod:`.nodes` is what gateways know of each other, :mod:`.registry` where they say it (in memory, or on
Redis).  :mod:`.leases` and :mod:`.names` tell the registry of this gateway.

The rule.  A registry may be gone, empty or wrong at any time: what is connected goes on, and what it says is asked of the
gateway itself, which refuses what it does not serve.

The trap.  Nothing that a caller waits for may wait for a registry that does not answer.
"""

__all__ = ()
