"""Features with a known truth, planted in a small model and its SAE, on which the scorers' benchmark is run."""
