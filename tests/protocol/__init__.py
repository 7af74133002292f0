"""Tests of ``muxado_py/protocol``."""
