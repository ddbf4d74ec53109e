-- One row per position of a context: contexts that reach it, and tokens in all; documents end early.
with context_lengths as (
    select len(token_ids) as n_tokens, count(*) as n_contexts
    from contexts
    group by n_tokens
)
select
    position,
    (select sum(n_contexts) from context_lengths where n_tokens > position)::double as n_reached,
    (select sum(n_tokens * n_contexts) from context_lengths)::double as n_all
from range((select max(n_tokens) from context_lengths)) as positions (position)
