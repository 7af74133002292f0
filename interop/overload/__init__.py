"""Overload: a server of calls that is asked for three times what it can do.

What it is.  A server and some clients, each a process, over TCP.  First the clients ask so many at a time: that is the server's
best.  Then they ask at a rate, three times as often, whatever becomes of it, with a deadline for each call; then, when
they have forgotten that they were refused, for the best once more, because a machine that does other things is not the same one
a minute later.  A handler computes, or waits for something of
which there are ten.

The rule.  Useful answers stay at nine tenths of the best; of the calls that are answered 99 in 100 are within their deadline; nobody
is told late, no call is executed twice or after it was told to be safe, and neither side's memory grows.

Where data comes from and goes to.  :mod:`.server` and :mod:`.client` obey the verbs of the benchmark's processes
(``interop/bench``), :mod:`.trial` moves them and reads their memory, :mod:`.verdict` judges.

``python -m interop.overload --seconds 60`` is the long form; ``test_overload.py`` has a short one, which asks nothing of time.
"""

from __future__ import annotations

__all__ = ()
