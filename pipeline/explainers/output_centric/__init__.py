"""What a feature does rather than what it fires on: an explanation from the tokens that it makes more likely.

Gur-Arieh et al. 2025, with `heuristics.top_tokens` promoted and as many suppressed tokens, by one of two methods:
VocabProj, the decoder direction through the unembedding (table `feature_logits`), or TokenChange, the change of
the logits when the feature is set on texts (`token_changes`). No window is shown. If the table has no tokens (path
`none`, a direction of zeros, a feature that never fires in train documents), the model is not asked and the status
is `no_input`. Scorers ask when a feature fires; such an explanation answers that only if the feature fires on what
it promotes.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.asking.tools import Tools
from pipeline.config import Config, settings_of
from pipeline.explainers.base import Explanation, Feature
from pipeline.explainers.output_centric.settings import Settings
from pipeline.explainers.prompted import Prompted
from pipeline.sae.load import check_weights

_SQL = Path(__file__).parent / "changed.sql"


class OutputCentric(Prompted):
    """Shows the tokens of the method in its settings."""

    def draws(
        self, features: Sequence[Feature], tools: Tools, n_draws: int = 1, **changes: Any
    ) -> Iterator[Explanation]:
        """As in `Prompted`; explainers that are built on it call it too, so the method's tokens are read here."""
        if settings_of(tools.config.explaining, self.name, Settings).tokens == "changed":
            rows = {feature: tokens for feature, *tokens in tools.batch.select(_SQL).fetchall()}
            changed = [(each, rows.get(each.feature, (None, None))) for each in features]
            features = [each._replace(promoted=raised, suppressed=lowered) for each, (raised, lowered) in changed]
        return super().draws(features, tools, n_draws, **changes)


explainer = OutputCentric("output_centric", has_marks=False)


def check(config: Config) -> None:
    """Raise SaeError if an SAE's weights are not available: the tokens are computed from them."""
    check_weights(config, explainer.name)
