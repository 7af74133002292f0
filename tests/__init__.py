"""The tests; they need nothing but Python."""
