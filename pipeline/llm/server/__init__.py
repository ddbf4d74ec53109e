"""Asking a server that speaks OpenAI's chat completions: paced, probed, and its texts redacted."""
