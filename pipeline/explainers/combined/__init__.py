"""What a feature fires on and what it promotes, in one prompt and one explanation, the two parts kept apart.

Some features can be told only by what they promote (Juang et al. 2024; Gur-Arieh et al. 2025). Unlike
`logit_weights`, where promoted tokens are a hint at what it fires on, both are asked for. Where `feature_logits`
has none the status is `no_input`, so that no explanation of windows alone passes for a combined one.
"""

from pipeline.explainers.prompted import Prompted

explainer = Prompted("combined")
