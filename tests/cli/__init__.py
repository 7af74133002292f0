"""The command line, from its parsers to its processes."""
