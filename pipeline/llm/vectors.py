"""Embeddings of texts: their requests, and how an answer stores a vector.

A vector is stored as text: normalised to length 1, float16, base64.
"""

import base64
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.llm.requests import Message, Request


def embedding_request(sae: str, feature: int, model: str, text: str) -> Request:
    """The request for a text's vector. An empty text becomes a space, because no server accepts it."""
    return Request("embedding", sae, feature, model, (Message("user", text or " "),), max_tokens=0)


def packed(values: Sequence[float]) -> str:
    """A vector's direction; cosines of packed vectors are off by less than 0.001.

    Raises ValueError if it has no direction: an empty or all-zero vector, or one with values that are not finite.
    """
    vector = np.asarray(values, np.float64)
    length = np.linalg.norm(vector) if vector.ndim == 1 and vector.size else 0.0
    if not np.isfinite(length) or length == 0:
        raise ValueError("not a vector with a direction")
    return base64.b64encode((vector / length).astype("<f2").tobytes()).decode()


def unpacked(text: str) -> NDArray[np.float32] | None:
    """The vector, float32 [width], of length 1; None if the text is not a vector."""
    try:
        vector = np.frombuffer(base64.b64decode(text, validate=True), "<f2").astype(np.float32)
    except ValueError:
        return None
    length = np.linalg.norm(vector)
    return vector / length if np.isfinite(length) and length > 0 else None
