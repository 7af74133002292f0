"""Sessions with real peers, and the benchmarks: what a test of our own bytes cannot show."""
