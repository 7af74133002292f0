"""The benchmark: muxado_py against the Go peers, another Python peer, and what else a user could take.

Read it in this order: ``workloads`` (what is measured), ``competitors`` (against whom), ``pair`` (the
two processes of one competitor), ``rounds`` (who runs when), ``figures`` (what may be said about it),
``report`` and ``plot`` (how it is said).  ``actors/`` holds the Python programs that the pairs are made
of, ``interop/go/bench`` the Go one.
"""
