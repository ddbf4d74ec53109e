"""The oracle: answers prompts in place of a language model, by known rules and with set error rates.

Results obtained with it say nothing about any model. Its answers always carry its name.
"""
