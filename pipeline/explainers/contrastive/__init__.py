"""Texts in which the feature fires beside texts close to them in which it does not: what tells them apart?

The close ones hold one of the feature's top tokens, or fire a near neighbour (kinds `same_token` and `neighbour`),
and are of train documents like all that is shown. Explanations made from firing texts alone are too broad: they
say what the texts share, and not what others lack. A feature without a close one has status `no_input`.

The silent texts come first, and the marked tokens are listed below the others: where the silent ones stood last, a
model of 1.5B spoke of them alone ("not active in any of these", 29 of 40 answers).
"""

from pipeline.explainers.prompted import Prompted

explainer = Prompted("contrastive")
