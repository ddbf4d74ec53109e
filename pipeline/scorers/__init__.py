"""Predictions: who judges explanations (a folder each), and how their answers become a table."""
