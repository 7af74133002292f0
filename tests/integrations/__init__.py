"""Tests of what meets the ecosystem, over real sessions in memory."""
