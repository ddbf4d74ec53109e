"""The post's variant with logit weights: the default explainer's prompt, and the tokens that the feature promotes.

Juang et al. 2024: the logit lens on the decoder direction, as in the table `feature_logits`. If that has no tokens
(path `none`), the prompt states that they are not known.
"""

from pipeline.explainers.prompted import Prompted

explainer = Prompted("logit_weights")
