"""Explanations: the explainers (a folder each), the table they fill, and its controls."""
