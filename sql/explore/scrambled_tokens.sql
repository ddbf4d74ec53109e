-- One row per token of feature $feature of SAE $sae that was put among random tokens, and kind of these: in how
-- many of the texts the feature fires on it.
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
