"""A language model in this process: chats, shared prefixes, batches."""
