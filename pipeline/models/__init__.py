"""Any transformers model: where it is, how it is loaded, its tokenizer and the bytes of its tokens."""
