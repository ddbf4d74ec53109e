"""The subject model: reading its hookpoints, steering it, and the path from a direction to the logits."""
