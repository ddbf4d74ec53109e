-- One row per window of a feature of SAE $sae from $first_feature to below $end_feature: its tokens as text, the
-- activation on each as it is written in decimals, and of those in which it fires the place by strength.
with windows as (
    select
        *,
        if(kind = 'activating', row_number() over (
            partition by feature order by kind = 'activating' desc, peak desc, example_id
        ), null) as place
    from examples
    where sae = $sae and feature >= $first_feature and feature < $end_feature
),
placed_tokens as (
    select example_id, unnest(token_ids) as token_id, generate_subscripts(token_ids, 1) as position
    from windows
),
spelled as (
    select
        placed_tokens.example_id,
        -- Databases behind the programs that read this take no NUL.
        list(replace(tokens.text, chr(0), ' ') order by placed_tokens.position) as texts
    from placed_tokens
    join tokens using (token_id)
    group by placed_tokens.example_id
)
select
    windows.sae,
    windows.feature,
    windows.example_id,
    windows.role,
    windows.kind,
    windows.decile,
    windows.peak,
    windows.place,
    spelled.texts,
    -- 0.1 as a float32 is 0.10000000149 as a float64, and 0.1 in decimals
    list_transform(windows.activations, lambda activation: activation::varchar::double) as activations,
    list_position(windows.activations, list_max(windows.activations)) - 1 as strongest
from windows
join spelled using (example_id)
