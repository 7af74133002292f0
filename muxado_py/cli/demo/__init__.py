"""The demo: the package's main job on an emulated narrow link, measured and judged.

Four processes.  The parent (``show``) makes a certificate, starts the others and judges; ``proxy`` is
the link; ``agent`` dials out through it and serves ``app``; ``gateway`` accepts the agent, makes
the HTTP calls over its session, and times them.  Parent and processes talk in lines (``puppet``).
"""

from __future__ import annotations

__all__ = ()
