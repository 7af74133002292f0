"""The agent's side: ``muxado serve``, and what it leads callers to.

``dialing`` keeps it connected, for other commands too, and ``registering`` says its names; ``watchdog`` leaves a gateway that hangs.
``judge`` says whether a stream is for what is served here.  ``local_port`` leads callers to an address beside the agent (``ports``), with a
``proxy_header`` if that asks for one.
"""

__all__ = ()
