-- The reason for a missing figure where less than min_coverage of the questions were answered. The share is
-- truncated, not rounded.
create macro coverage_reason(n_scored, n_unscored, min_coverage) as format(
    'coverage {:.2f} is under {:.2f}', (100 * n_scored // (n_scored + n_unscored)) / 100, min_coverage
)
