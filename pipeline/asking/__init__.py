"""Sends a batch's requests: prompts, the windows of tokens in them, roles, ledgers, spending."""
