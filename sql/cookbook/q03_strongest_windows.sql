-- One row per explained feature: in which text does a feature fire most strongly?
with strongest as (
    select sae, feature, peak, token_ids, activations
    from examples
    where kind = 'activating'
    qualify row_number() over (partition by sae, feature order by peak desc, example_id) = 1
),
placed as (
    select
        sae, feature, peak, unnest(token_ids) as token_id, unnest(activations) as activation,
        generate_subscripts(token_ids, 1) as position
    from strongest
)
select
    placed.sae,
    placed.feature,
    round(placed.peak::double, 2) as peak,
    string_agg(
        if(placed.activation > 0.3 * placed.peak, '<<' || tokens.text || '>>', tokens.text), ''
        order by placed.position
    ) as text
from placed
join tokens using (token_id)
group by placed.sae, placed.feature, placed.peak
order by placed.sae, placed.peak desc
