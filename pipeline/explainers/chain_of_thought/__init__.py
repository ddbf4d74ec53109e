"""The post's variant with a chain of thought: four steps, the last of which is the explanation.

Juang et al. 2024 ask for the activating tokens and the surrounding tokens that matter (at most five), for what the
texts share, for the tokens that the feature promotes, and then for the explanation. They found no clear gain, and
a tendency to overthink. Their prompt has worked examples. This one has none, because small models copy them into
their answers. The steps are kept only in `llm_requests`.
"""

from pipeline.explainers.prompted import Prompted

_STEPS = """\
1. Tokens: "but", "however", "although"; around them: ",", ".", the beginning of a sentence.
2. In all of the texts a clause is set against the one before it. The tokens open that clause, after a comma or at
the beginning of a sentence, and they are short. What follows is a statement that limits what was said.
3. It may make pronouns and articles likelier, with which clauses go on: "it", "the", "they", "this".
4. """

explainer = Prompted("chain_of_thought", steps=_STEPS)
