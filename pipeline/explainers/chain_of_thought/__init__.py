"""The post's variant with a chain of thought: four steps before the explanation, of which the last alone is kept.

Juang et al. 2024 ask for the activating tokens and those around them that matter (at most five), for what the
texts share, for the tokens that the feature boosts, and then for the explanation; they found no clear gain, and
that it tends to overthink. Theirs has worked examples. Ours has none: small models copy them into their answers.
The steps stay in `llm_requests`.
"""

from pipeline.explainers.prompted import Prompted

_STEPS = """\
1. Tokens: "but", "however", "although"; around them: ",", ".", the beginning of a sentence.
2. In all of the texts a clause is set against the one before it. The tokens open that clause, after a comma or at
the beginning of a sentence, and they are short. What follows is a statement that limits what was said.
3. It may make pronouns and articles likelier, with which clauses go on: "it", "the", "they", "this".
4. """

explainer = Prompted("chain_of_thought", steps=_STEPS)
