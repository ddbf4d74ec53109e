"""Rules for every feature: mined from what stands at its firings, and proved on every token."""
