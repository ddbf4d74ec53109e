"""A reader's own text: which features fire on which of its tokens.

The subject model is loaded in a thread of its own when the first text arrives; meanwhile the page says so and
reloads itself. A text is cut at the context length. Texts are read one at a time: a page that waits for another
text reloads as well, so that it does not occupy one of the server's threads.
"""

import threading
from typing import TYPE_CHECKING, Any

import polars as pl

from pipeline.config import Config
from pipeline.explore.background import Background
from pipeline.explore.catalog import Reader
from pipeline.explore.feature import Piece

if TYPE_CHECKING:
    from pipeline.show.notebook import TextFirings, TextReader

MOST_CHARACTERS = 2000
_WAIT_SECONDS = 1
"""How long a request waits for the model or for another text before its page has to reload."""
_SHOWN = 40
"""The number of features shown."""
_AROUND = 12
"""The number of tokens shown on each side of a firing."""


class Texts:
    """Reads texts with the subject model of an experiment."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._reader: TextReader | None = None
        self._loading = Background(self._load, "the subject model cannot be loaded")
        self._reading = threading.Lock()

    def read(self, text: str) -> "TextFirings | None":
        """What fires on a text; None while the model is loading or reads another text.

        Raises:
            LatentlakeError: The model cannot be loaded (the next attempt tries again), or the text is too short.
        """
        if not self._reading.acquire(timeout=_WAIT_SECONDS):
            return None
        try:
            if self._reader is not None:
                return self._reader.read(text)
            self._loading.start()
        finally:
            self._reading.release()
        self._loading.wait(_WAIT_SECONDS)
        return None

    def _load(self) -> None:
        from pipeline.show.notebook import TextReader

        self._reader = TextReader(self._config)


def text_page(reader: Reader, found: "TextFirings", position: int | None) -> dict[str, Any]:
    """What the template shows: the text's tokens, and the features that fire on the text or on one of its tokens.

    The features come by their largest activation on the text or, if a token is chosen, by that on the token.

    Args:
        reader: Queries the lake.
        found: What fires on the text.
        position: The index of the token whose features are shown, from 0; None for all tokens.
    """
    n_by_token = dict(found.firings.group_by("token_index").len().iter_rows())
    asked = found.firings if position is None else found.firings.filter(token_index=position)
    strongest = asked.sort("activation", descending=True).unique(["sae", "feature"], maintain_order=True)
    shown = strongest.head(_SHOWN).to_dicts()
    words: dict[tuple[str, int], dict[str, Any]] = {}
    for sae in {row["sae"] for row in shown}:
        features = [row["feature"] for row in shown if row["sae"] == sae]
        for known in reader.rows("words_of_features", sae=sae, features=features):
            words[sae, known["feature"]] = known
    return {
        "tokens": [(number, token, n_by_token.get(number, 0)) for number, token in enumerate(found.tokens)],
        "position": position,
        "n_features": strongest.height,
        "rows": [row | _around(found, row, words.get((row["sae"], row["feature"]))) for row in shown],
    }


def _around(found: "TextFirings", row: dict[str, Any], known: dict[str, Any] | None) -> dict[str, Any]:
    """The tokens around a firing. As on the feature's own page, its maximum in the corpus is the darkest shade."""
    own = found.firings.filter((pl.col("sae") == row["sae"]) & (pl.col("feature") == row["feature"]))
    by_token = dict(own.select("token_index", "activation").iter_rows())
    largest = max(*by_token.values(), (known and known["max_activation"]) or 0.0)
    first = max(0, row["token_index"] - _AROUND)
    pieces = []
    for number, token in enumerate(found.tokens[first : row["token_index"] + _AROUND + 1], first):
        activation = by_token.get(number, 0.0)
        level = max(1, round(10 * activation / largest)) if activation else 0
        pieces.append(Piece(token, level, activation, number == row["token_index"]))
    return {"known": known, "pieces": pieces}
