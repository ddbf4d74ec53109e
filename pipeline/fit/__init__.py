"""Does an SAE fit the place that the config has it read? Measured before a corpus is paid for."""
