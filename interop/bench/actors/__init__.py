"""The processes of a pair, one module for each Python implementation; ``stage`` is what they share."""
