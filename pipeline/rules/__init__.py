"""Rules: what a person or SQL says about when a feature fires, checked by a program on every token."""
