"""The explainer that needs no model: the tokens and words by which a feature stands out, for all features at once.

Log-odds with an informative Dirichlet prior (Monroe, Colaresi and Quinn 2008, "Fightin' Words"), in
`keywords.sql`. It sees train documents alone.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.asking.roles import RoleName
from pipeline.asking.tools import Tools
from pipeline.explainers.base import Explanation, Feature

_SQL = Path(__file__).parent / "keywords.sql"


class Keywords:
    """Explains every feature that fires in train documents."""

    name = "keywords"
    role: RoleName | None = None

    def explain(self, features: Sequence[Feature], tools: Tools) -> Iterator[Explanation]:
        """A sentence a feature."""
        wanted = {each.feature for each in features}
        for feature, words in tools.batch.make(_SQL).fetchall():
            if feature in wanted:
                yield Explanation(feature, words)


explainer = Keywords()
