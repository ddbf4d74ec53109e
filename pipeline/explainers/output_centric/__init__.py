"""What a feature does rather than what it fires on: an explanation from what it promotes and suppresses.

VocabProj of Gur-Arieh et al. 2025: the decoder direction through the unembedding, as in table `feature_logits`,
`heuristics.top_tokens` on each side (theirs: 50). No window is shown. Where the table has none (path `none`, or a
direction of zeros) the feature is not asked about and its status is `no_input`. Scorers ask when a feature fires,
which such an explanation tells only so far as it fires where it promotes.
"""

from pipeline.explainers.prompted import Prompted

explainer = Prompted("output_centric", has_notes=False)
