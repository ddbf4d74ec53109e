"""Explanations: who makes them (a folder each), how they become a table, and the controls beside them."""
