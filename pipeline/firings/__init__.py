"""Firings: made by forward passes, kept sorted in a store, read bucket by bucket."""
