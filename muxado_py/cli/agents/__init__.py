"""Agents, as the gateway has them, from the first stream that one opens to its end.

``reception`` hears what it says (``registration``), ``guard`` judges that, ``registrar`` acts on it, and until then a stranger is in
the ``waiting_room``; ``agents`` has them all.  ``destinations`` are the names and who serves them, ``beyond`` who does so at other
gateways.  ``agent`` is one session that callers are led to, and ``introductions`` what it is told of them; ``suspicion`` doubts it,
``handover`` moves it, and ``holdings`` count what its holder has.
"""

__all__ = ()
