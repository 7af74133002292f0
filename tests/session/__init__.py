"""Tests of ``muxado_py/session``."""
