"""All features of an SAE: their tables, selection, neighbours, logits, scrambled contexts."""
