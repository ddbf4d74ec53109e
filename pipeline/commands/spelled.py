"""How to write something, for whoever started the program: `make` or its own command."""

import os


def spelled(by_make: str, by_command: str) -> str:
    """The one that fits: `make` sets MAKELEVEL for what it runs."""
    return by_make if "MAKELEVEL" in os.environ else by_command
