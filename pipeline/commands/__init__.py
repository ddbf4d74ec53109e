"""What the Makefile calls, a module each."""
