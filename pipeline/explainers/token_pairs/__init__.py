"""The earlier format: a window as a list of its tokens with their activations.

Bills et al. 2023, "Language models can explain neurons in language models": per line one token, a TAB and its
activation from 0 to 10. It takes 2.7 times the prompt tokens of marked windows (10 of the demo's windows), and is
included as the baseline for that cost.
"""

from pipeline.explainers.examples import pair_lines
from pipeline.explainers.prompted import Prompted

explainer = Prompted("token_pairs", lines=pair_lines, has_marks=False)
