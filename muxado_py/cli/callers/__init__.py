"""Callers of a gateway's published addresses, and of its sessions that call: bytes, whatever they are.

``newcomers`` are served by callbacks alone for as long as all goes as usual, ``visits`` with a task; ``caller`` is one and what
it said (``heads``), ``kept`` is bounded for all.  ``offers`` lead it to agents, ``answers`` are the gateway's own.  ``callers`` and ``crowd``
say how many there may be; ``ledger`` and ``latest`` have what is written down.
"""

__all__ = ()
