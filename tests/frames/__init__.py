"""The tests of ``muxado_py.frames``."""
