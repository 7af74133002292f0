"""Tests of ``muxado_py/dialing``."""
