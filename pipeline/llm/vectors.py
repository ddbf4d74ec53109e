"""Embeddings of texts: how a request asks for one, and how an answer holds it.

A vector is kept as text: of length 1, in float16, 2 bytes a number, base64.
"""

import base64
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.llm.requests import Message, Request


def embedding_request(sae: str, feature: int, model: str, text: str) -> Request:
    """The request for a text's vector. No server takes an empty text: a space stands for it."""
    return Request("embedding", sae, feature, model, (Message("user", text or " "),), max_tokens=0)


def packed(values: Sequence[float]) -> str:
    """A vector's direction; a cosine of two that were packed is off by less than 0.001.

    Raises ValueError for what has none: a vector that is empty, all zero, or not of finite numbers.
    """
    vector = np.asarray(values, np.float64)
    length = np.linalg.norm(vector) if vector.ndim == 1 and vector.size else 0.0
    if not np.isfinite(length) or length == 0:
        raise ValueError("not a vector with a direction")
    return base64.b64encode((vector / length).astype("<f2").tobytes()).decode()


def unpacked(text: str) -> NDArray[np.float32] | None:
    """The vector, float32 [width], of length 1; None where the text is none."""
    try:
        vector = np.frombuffer(base64.b64decode(text, validate=True), "<f2").astype(np.float32)
    except ValueError:
        return None
    length = np.linalg.norm(vector)
    return vector / length if np.isfinite(length) and length > 0 else None
