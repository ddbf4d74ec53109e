"""Detection (Juang et al. 2024): does the feature fire somewhere in this window?

Prompts of one question have their own wording, chosen by `benchmarks/wordings.py`: on 96 hand-made questions, a
model of 1.5B parameters reaches an AUC of 0.94 with it, and 0.79 if the explanation comes first.
"""

from pipeline.scorers.yes_no import YesNo

scorer = YesNo("detection")
