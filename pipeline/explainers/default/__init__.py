"""The post's explainer: examples with marked tokens in, one sentence out.

Bills et al. 2023 and Juang et al. 2024: the model sees train windows in which the feature fires, with the firing
tokens marked, and answers after [EXPLANATION]:. The prompt has no worked examples, because small models copy them:
9 of 10 answers of SmolLM2-135M and 8 of 10 of Qwen2.5-Coder-1.5B repeated ours (`benchmarks/echoes.py` counts
them).
"""

from pipeline.explainers.prompted import Prompted

explainer = Prompted("default", purpose="explain")
