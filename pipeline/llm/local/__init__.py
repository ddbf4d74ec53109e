"""Asking a language model in this process: chats, shared beginnings, batches."""
