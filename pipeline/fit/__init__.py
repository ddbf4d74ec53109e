"""Does an SAE fit the hookpoint that the config gives it? Measured before the corpus is run through the model."""
