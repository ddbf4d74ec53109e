"""The post's variant with activations: the default explainer's prompt, and each marked token's strength, 0 to 10.

Bills et al. 2023, Juang et al. 2024, who found no clear gain in detection or fuzzing scores.
"""

from pipeline.explainers.prompted import Prompted

explainer = Prompted("with_activations")
