"""Tests of ``muxado_py/links``."""
