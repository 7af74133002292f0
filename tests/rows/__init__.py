"""One test for each row of the interop specification: what a peer does, byte for byte, and our side."""
