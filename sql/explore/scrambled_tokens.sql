-- One row per kind of random text and token of feature $feature of SAE $sae that was placed in it: the number of
-- texts in which the feature fires on the token.
select
    scrambled_contexts.token_id,
    tokens.text,
    scrambled_contexts.fillers,
    sum(scrambled_contexts.n_contexts)::bigint as n_contexts,
    sum(scrambled_contexts.n_active)::bigint as n_active,
    any_value(scrambled_contexts.fire_share) as fire_share
from scrambled_contexts
left join tokens using (token_id)
where scrambled_contexts.sae = $sae and scrambled_contexts.feature = $feature
group by scrambled_contexts.token_id, tokens.text, scrambled_contexts.fillers
order by n_active desc, scrambled_contexts.token_id, scrambled_contexts.fillers
