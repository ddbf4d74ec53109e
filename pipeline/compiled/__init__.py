"""Rows that compiled loops over arrays make, where SQL takes too long."""
