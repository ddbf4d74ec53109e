-- One row per SAE, scorer, explainer and stratum: the share of right answers about windows of a decile of the peak
-- (1 is the weakest), or of a kind of silent window, with its interval.
select
    *,
    coalesce(
        try_cast(regexp_extract(stratum, '^decile ([0-9]+)$', 1) as int),
        -list_position(['same_token', 'neighbour', 'random'], stratum)
    ) as stratum_order
from stratum_means
where regexp_matches(stratum, '^(decile [0-9]+|same_token|neighbour|random)$')
order by sae, scorer, is_control, explainer, stratum_order
