"""Sessions that are closed under load, with peers whose loop is busy: what each side was told, and what it got.

Run it with ``python -m interop.closing --sessions 10000``; it needs no foreign program.

What it is.  Two processes for each event loop and each transport.  The dialer opens sessions, many at a time, sends on
some streams in each of them and closes it while that is under way; it notes what it was told.  The
listener's loop is blocked for random spells of up to two seconds; it notes what came on each stream.

What must hold.  Each byte that ``send`` took has arrived, or the dialer was told: by an error of a stream, or by that of
the close.  No stream came to a clean end before its last byte, and nothing else came than what was sent.

Where data comes from and goes to.  :mod:`.plan` draws a session from its seed; :mod:`.dialer` and :mod:`.listener` run
it, each in a process of its own, and print what they noted; :mod:`.verdict` compares; ``__main__`` counts.
"""
