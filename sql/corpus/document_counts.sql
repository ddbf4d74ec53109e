-- One row: how much of the corpus there is, by role.
select
    sum(n_tokens)::bigint as tokens,
    (sum(n_tokens) filter (role = 'train'))::bigint as train_tokens,
    (sum(n_tokens) filter (role = 'test'))::bigint as test_tokens,
    count(distinct unit) as units
from documents
