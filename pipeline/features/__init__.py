"""Computations over all features of an SAE: selection, neighbours, logits, scrambled contexts."""
