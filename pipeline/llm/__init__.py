"""Asking language models: requests, answers, the ledger that records them, and the clients that send them.

Nothing here depends on what a feature is. A stage makes requests, opens a ledger and a client, and calls `ask`.
Clients are imported from their own modules because they load heavy packages.
"""

from pipeline.llm.ask import ask
from pipeline.llm.ledger.answers import Ledger
from pipeline.llm.requests import Answer, Client, Message, Request

__all__ = ["Answer", "Client", "Ledger", "Message", "Request", "ask"]
