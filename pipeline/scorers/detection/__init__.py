"""Detection (Juang et al. 2024): does the feature fire somewhere in this window?

One question is put in words of its own, chosen by `benchmarks/wordings.py`: on 96 questions made by hand a model
of 1.5B parameters reaches an AUC of 0.94 with them, and 0.81 where the explanation comes first.
"""

from pipeline.scorers.yes_no import YesNo

scorer = YesNo("detection")
