"""Who may: what peers show, which names it is good for, and what must not be reached without any of it.

``tokens`` has the file of those that a gateway takes, ``jwt_keys`` the keys of those signed elsewhere, ``shown_token`` the one that
this side shows; ``certified`` says what a certificate says, ``authority`` and ``certs`` make some; ``revoked`` is good no more.
``permits`` are what all of these come to, and ``deciding_files`` how the files are read.
``names`` are what is served, ``holding`` how much one holder may have, and ``exposure`` who can reach an address.

The rule.  Nothing here knows of sessions: what a gateway asks of an agent by these is the matter of ``agents/guard.py``.
"""

__all__ = ()
