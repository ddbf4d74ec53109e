"""The pilot: what must be known about a scorer before it scores batches, measured on features drawn by hash."""
