"""Fuzzing (Juang et al. 2024): are the marked tokens of this window the ones on which the feature fires?"""

from pipeline.scorers.yes_no import YesNo

scorer = YesNo("fuzzing")
