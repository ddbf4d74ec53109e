"""What any transformers model needs: where it is, its tokenizer and config, its tokens' bytes."""
