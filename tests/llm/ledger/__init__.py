"""The tests of what is recorded and what may be spent."""
