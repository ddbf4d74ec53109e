"""Neighbours (Juang et al. 2024): detection whose negatives are the nearest features' own windows.

The silent windows are the strongest test windows of the ten nearest features by decoder cosine in which this
feature does not fire. An explanation that fits a whole family of features scores badly here, while detection with
random negatives rates it well. `score_details` gives the share of correct answers by the neighbour's rank and
cosine, and separately for neighbours that fire on the same tokens more often than by chance (`feature_cofirings`),
for which a window without the feature is an exception. Its questions use detection's prompts: with one question
per prompt, those about windows that detection also asks about are paid for once.
"""

from pipeline.scorers.yes_no import YesNo

scorer = YesNo("neighbours")
