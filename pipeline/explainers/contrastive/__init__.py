"""Texts in which the feature fires and similar silent texts: what distinguishes them?

The silent texts contain one of the feature's top tokens, or a near neighbour fires in them (kinds `same_token` and
`neighbour`); like everything shown, they come from train documents. Explanations made from firing texts alone are
too broad: they describe what these texts share, but not what other texts lack. A feature without similar silent
texts has status `no_input`.

The silent texts come first, and the marked tokens are listed after the firing texts. With the silent texts last, a
1.5B model described only them ("not active in any of these", 29 of 40 answers).
"""

from pipeline.explainers.prompted import Prompted

explainer = Prompted("contrastive")
