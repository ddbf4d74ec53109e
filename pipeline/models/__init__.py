"""Any transformers model: where it is, its tokenizer and config, its tokens' bytes."""
