"""Features whose truth is known, planted in a small model and its SAE: what the scorers' benchmark judges."""
