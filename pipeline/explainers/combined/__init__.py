"""What a feature fires on and what it promotes, in one prompt and one explanation with two separate parts.

Some features can be explained only by what they promote (Juang et al. 2024; Gur-Arieh et al. 2025). The prompt
asks for both, unlike that of `logit_weights`, where promoted tokens are only a hint. If `feature_logits` has no
tokens, the status is `no_input`, so that an explanation of the windows alone cannot pass for a combined one.
"""

from pipeline.explainers.prompted import Prompted

explainer = Prompted("combined")
