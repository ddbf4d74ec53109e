"""`make demo`, `make run`: an experiment from end to end in one process."""
