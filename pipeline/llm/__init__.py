"""Asking language models: requests, answers, the ledger that remembers them, and the clients that ask.

Nothing here knows what a feature is. A stage makes requests, opens a ledger and a client, and calls `ask`;
clients are imported from their own modules, because they load heavy packages.
"""

from pipeline.llm.ask import ask
from pipeline.llm.ledger.answers import Ledger
from pipeline.llm.requests import Answer, Client, Message, Request

__all__ = ["Answer", "Client", "Ledger", "Message", "Request", "ask"]
