"""The benchmark of the gateway as a tunnel, beside frp, chisel, rathole and ssh: ``python -m interop.bench.tunnel``.

Read it in this order: ``rows`` (what is measured), ``setups`` and ``ours`` (through what), ``programs`` (how its processes live),
``callers`` (how a row is driven), ``rounds`` (which set-up when), ``report`` (how it is said).  ``app`` is the
application behind all of them, and ``interop/go/load`` makes the load.
"""
