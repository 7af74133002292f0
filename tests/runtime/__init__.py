"""Tests of ``muxado_py/runtime``."""
