"""`latentlake demo`, `latentlake run`: an experiment from end to end, here or on a Ray cluster."""
