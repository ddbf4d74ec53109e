-- One row per window of a feature of SAE $sae from $first_feature to below $end_feature that has examples: the
-- examples, and the 20 strongest windows in the index, from train and test documents. It has the tokens as text,
-- the activation on each in its shortest decimal form, and for windows in which the feature fires the rank by
-- strength.
with own as (
    select example_id, sae, feature, role, kind, decile, peak, token_ids, activations
    from examples
    where sae = $sae and feature >= $first_feature and feature < $end_feature
),
strongest as (
    select
        md5(concat_ws(' ', sae, feature, context_id, start)) as example_id,
        sae,
        feature,
        context_id,
        start,
        role,
        'activating' as kind,
        decile,
        peak
    from example_index
    semi join own using (feature)
    where
        sae = $sae
        and feature >= $first_feature
        and feature < $end_feature
        and rank <= 20
    qualify row_number() over (partition by feature order by peak desc, example_id) <= 20
),
cut as (
    select
        strongest.*,
        contexts.token_ids[strongest.start + 1 : strongest.start + slots.n_tokens] as token_ids
    from strongest
    anti join own using (example_id)
    join slots using (context_id, start)
    join contexts on contexts.context_id = strongest.context_id
),
fired as (
    select
        cut.example_id,
        map_from_entries(list((activations.position - cut.start, activations.activation))) as strengths
    from cut
    join activations
        on activations.feature = cut.feature
        and activations.context_id = cut.context_id
        and activations.position between cut.start and cut.start + len(cut.token_ids) - 1
    where
        activations.sae = $sae
        and activations.feature >= $first_feature
        and activations.feature < $end_feature
    group by cut.example_id
),
windows as (
    select
        *,
        if(kind = 'activating', row_number() over (
            partition by feature order by kind = 'activating' desc, peak desc, example_id
        ), null) as rank
    from (
        select * from own
        union all by name
        select
            cut.* exclude (context_id, start),
            list_transform(range(len(cut.token_ids)), lambda p: coalesce(fired.strengths[p], 0)::float)
                as activations
        from cut
        join fired using (example_id)
    )
),
placed_tokens as (
    select example_id, unnest(token_ids) as token_id, generate_subscripts(token_ids, 1) as position
    from windows
),
spelled as (
    select
        placed_tokens.example_id,
        -- The databases of programs that read this reject NUL.
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
    windows.rank,
    spelled.texts,
    -- A float32 0.1 cast to a float64 is 0.10000000149; by way of its decimals it is 0.1.
    list_transform(windows.activations, lambda activation: activation::varchar::double) as activations,
    list_position(windows.activations, list_max(windows.activations)) - 1 as strongest
from windows
join spelled using (example_id)
