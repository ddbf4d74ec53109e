-- One row per text to be written: for each explanation, n_texts in which its feature should fire, and as many near
-- misses. deciles: the lowest peak in each decile of the feature's train windows.
with floors as (
    select feature, decile, min(peak)::double as lowest
    from example_index
    where role = 'train'
    group by feature, decile
),
known as (
    select feature, list({'decile': decile, 'lowest': lowest} order by decile) as deciles
    from floors
    group by feature
),
wanted as (
    select labels.label, numbers.number
    from (select unnest([true, false]) as label) as labels
    cross join (select unnest(range(1, $scoring_generation_n_texts + 1)) as number) as numbers
)
select
    scored_explanations.explanation_id,
    scored_explanations.feature,
    md5(concat_ws(' ', scored_explanations.explanation_id, 'generation', wanted.label, wanted.number))
        as question_id,
    null::varchar as example_id,
    null::int[] as marked,
    wanted.label,
    wanted.number as draw,
    scored_explanations.explanation,
    known.deciles
from scored_explanations
cross join wanted
left join known using (feature)
order by scored_explanations.feature, scored_explanations.explanation_id, wanted.label desc, wanted.number
