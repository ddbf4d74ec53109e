"""Detection (Juang et al. 2024): does the feature fire somewhere in this window?"""

from pipeline.scorers.yes_no import YesNo

scorer = YesNo("detection")
