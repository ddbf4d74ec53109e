-- One row per SAE and threshold: of its unigram candidates that were verified among random tokens, the share that
-- still fires in at least the threshold's share of the texts, with its interval.
select sae, threshold, n_candidates, n_verified, n_independent, share_of_candidates, ci_low, ci_high
from context_independence
where n_verified > 0
order by sae, threshold
