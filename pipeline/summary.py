"""Means over features with Student's intervals: of scores, and of differences between two explainers' scores."""

import numpy as np
import pyarrow as pa
from scipy.special import stdtrit

from pipeline.lake import Lake, Published
from pipeline.make_table import make_table


def write_summary(lake: Lake) -> Published:
    """Make the table `summary` from all existing batches."""
    return _over_features(lake, "summary")


def write_explainer_comparisons(lake: Lake) -> Published:
    """Make the table `explainer_comparisons` from all existing batches."""
    return _over_features(lake, "explainer_comparisons")


def _over_features(lake: Lake, table: str) -> Published:
    most_features = max(sae.n_features for sae in lake.config.saes)
    quantiles = student_quantiles(lake.config.scoring.confidence, most_features)
    return make_table(lake, table, given={"student_quantiles": quantiles})


def student_quantiles(confidence: float, most_features: int) -> pa.Table:
    """One row per number of features, from 3: the quantile t for the interval of their mean.

    Student's t at (1 + confidence) / 2, with n_features - 1 degrees of freedom.
    """
    n_features = np.arange(3, max(most_features, 3) + 1)
    return pa.table({"n_features": n_features, "t": stdtrit(n_features - 1.0, (1 + confidence) / 2)})
