"""Asking by a provider's batch API (OpenAI's `/files` and `/batches`): half the price, and up to a day's wait."""
