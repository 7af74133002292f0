"""What the sans-IO tests share: a pair of connections, a scripted peer, a recording receiver."""
