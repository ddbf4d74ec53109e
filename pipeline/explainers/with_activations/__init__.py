"""The post's variant with activations: the default prompt, with each marked token's activation, 0 to 10.

Bills et al. 2023, Juang et al. 2024, who found no clear gain in detection or fuzzing scores.
"""

from pipeline.explainers.prompted import Prompted

explainer = Prompted("with_activations")
