"""The estimate of the next run: its requests, tokens, cost and time, before anything is sent."""
