"""The oracle: it answers prompts by known rules at set error rates, in the place of a language model.

What is measured with it says nothing about a model, and wherever its answers stand, its name says so.
"""
