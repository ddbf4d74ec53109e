"""Predictions: the scorers (a folder each), and the table that their answers fill."""
