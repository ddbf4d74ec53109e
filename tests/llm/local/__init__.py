"""The tests of asking a model in this process."""
