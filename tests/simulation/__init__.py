"""The simulator: two real sessions, everything around them made of one seed; see ``__main__``.

The layout, in the order data flows in::

    clock       virtual time, and what happens in it
    plan        what a seed makes of all this
    kernel, network    sockets of a kernel that does as Linux does
    pipes       a command's, over such a path
    proxies     what stands between two such paths
    asyncio_world, trio_world    the event loops of the two sides
    security    TLS that replays
    ledger      what each application was told
    conversation, apps    the applications
    oracle      what they may be told
    faults      mistakes to put back
    run         one seed, and many
"""
