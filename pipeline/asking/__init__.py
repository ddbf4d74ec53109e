"""Putting a batch's requests: prompts, windows of tokens in them, the ledger's batches, spending."""
