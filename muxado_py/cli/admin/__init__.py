"""The admin address of a gateway, for whoever runs it.

``admin`` serves it, ``overview`` has the figures for probes and Prometheus, and ``page`` what a browser shows.  ``origins`` and
``keyholders`` say who may ask.
"""

__all__ = ()
