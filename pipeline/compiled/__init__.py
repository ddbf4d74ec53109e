"""Rows that compiled loops, numpy and Polars make from arrays and columns, where SQL takes too long."""
