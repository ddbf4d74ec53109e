"""Neighbours (Juang et al. 2024): detection whose negatives are the nearest features' own windows.

The silent windows are the strongest test windows of the ten nearest features by decoder cosine, in which this one
does not fire: an explanation that is right about a whole family of features is wrong here, where detection with
random negatives calls it good. `score_details` tells how often its answers are right by the neighbour's rank and
cosine, and apart for neighbours that fire on the same tokens more often than by chance (`feature_cofirings`): of
these, a window without the feature is an exception. Its questions are put in detection's words: at
one question a prompt, those about the windows that both ask about are paid once.
"""

from pipeline.scorers.yes_no import YesNo

scorer = YesNo("neighbours")
