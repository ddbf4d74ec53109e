"""Rows made by compiled loops, numpy and Polars where SQL would take too long."""
