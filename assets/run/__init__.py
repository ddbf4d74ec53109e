"""`latentlake demo`, `latentlake run`: an experiment from end to end in one process."""
