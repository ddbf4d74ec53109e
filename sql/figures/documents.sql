-- One row per figure of documents: the size of the corpus, by role.
select
    unnest(['tokens', 'train_tokens', 'test_tokens', 'units']) as figure,
    unnest([
        sum(n_tokens)::bigint, (sum(n_tokens) filter (role = 'train'))::bigint,
        (sum(n_tokens) filter (role = 'test'))::bigint, count(distinct unit)
    ]) as value
from documents
