"""The subject model: read at its hookpoints, and its way from a direction to the logits."""
