"""Rules: when a feature fires, as stated by a person or found by SQL, checked on every token."""
