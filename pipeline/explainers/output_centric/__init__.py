"""What a feature does rather than what it fires on: an explanation from the tokens that it makes likelier.

Gur-Arieh et al. 2025, `heuristics.top_tokens` on each side, by setting either of theirs: VocabProj, the decoder
direction through the unembedding (table `feature_logits`), or TokenChange, what changes when the feature is set on
texts (`token_changes`). No window is shown. Where the table has none (path `none`, a direction of zeros, a
feature that never fires in train documents) the feature is not asked about and its status is `no_input`. Scorers
ask when a feature fires, which such an explanation tells only so far as it fires where it promotes.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.asking.tools import Tools
from pipeline.config import Config, settings_of
from pipeline.explainers.base import Explanation, Feature
from pipeline.explainers.output_centric.settings import Settings
from pipeline.explainers.prompted import Prompted
from pipeline.sae.load import check_weights

_SQL = Path(__file__).parent / "changed.sql"


class OutputCentric(Prompted):
    """Shows the tokens that its settings say."""

    def explain(self, features: Sequence[Feature], tools: Tools) -> Iterator[Explanation]:
        """As every explainer that is a prompt."""
        if settings_of(tools.config.explaining, self.name, Settings).tokens == "changed":
            rows = {feature: tokens for feature, *tokens in tools.batch.select(_SQL).fetchall()}
            changed = [(each, rows.get(each.feature, (None, None))) for each in features]
            features = [each._replace(promoted=raised, suppressed=lowered) for each, (raised, lowered) in changed]
        return super().explain(features, tools)


explainer = OutputCentric("output_centric", has_marks=False)


def check(config: Config) -> None:
    """Raise SaeError if an SAE's weights are not here: what a feature does is told by them alone."""
    check_weights(config, explainer.name)
