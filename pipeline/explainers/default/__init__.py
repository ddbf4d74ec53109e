"""The post's explainer: examples with marked tokens in, one sentence out.

Bills et al. 2023 and Juang et al. 2024: the model sees train windows in which the feature fires, its firing
tokens marked, and answers after [EXPLANATION]:. There are no worked examples, which small models copy: nine of ten
answers of SmolLM2-135M and eight of ten of Qwen2.5-Coder-1.5B repeated ours (`benchmarks/echoes.py` counts them).
"""

from pipeline.explainers.prompted import Prompted

explainer = Prompted("default", purpose="explain")
