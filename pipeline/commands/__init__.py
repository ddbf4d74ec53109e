"""The commands that the Makefile calls, one module each."""
