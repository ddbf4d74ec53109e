"""An explainer without a model: the tokens and words that distinguish a feature, for all features at once.

Log-odds with an informative Dirichlet prior (Monroe, Colaresi and Quinn 2008, "Fightin' Words"), in
`keywords.sql`. It uses train documents only.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.asking.roles import RoleKind
from pipeline.asking.tools import Tools
from pipeline.explainers.base import Explanation, Feature

_SQL = Path(__file__).parent / "keywords.sql"


class Keywords:
    """Covers every feature that fires in train documents."""

    name = "keywords"
    role: RoleKind | None = None

    def explain(self, features: Sequence[Feature], tools: Tools) -> Iterator[Explanation]:
        """One sentence per feature."""
        wanted = {each.feature for each in features}
        for feature, words in tools.batch.make(_SQL).fetchall():
            if feature in wanted:
                yield Explanation(feature, words)


explainer = Keywords()
