"""Rules for every feature: mined from the context of its firings, and proved on every token."""
