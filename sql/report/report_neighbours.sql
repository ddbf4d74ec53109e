-- One row per SAE, explainer and rank of a neighbour (1 is the nearest): how often scorer `neighbours` is right
-- about windows in which that neighbour fires and the feature is silent, with its interval.
select * exclude (scorer, stratum), regexp_extract(stratum, '^rank ([0-9]+)$', 1)::int as rank
from stratum_means
where scorer = 'neighbours' and regexp_matches(stratum, '^rank [0-9]+$')
order by sae, is_control, explainer, rank
