-- One row per feature of the batch and slot in which it is silent and that is in a stratum of hard negatives:
-- same_token (one of its top tokens stands there), else neighbour (a near neighbour fires there).
-- Every other silent slot is `random`.
with top_tokens as (
    select s.feature, unnest(s.top_tokens).token_id as token_id
    from feature_stats as s
    semi join batch_features using (feature)
),
claimed as (
    select t.feature, c.role, c.context_id, c.slot_start as start, 0 as stratum
    from top_tokens as t
    join corpus_tokens as c using (token_id)
    where c.slot_start is not null
    union all
    select n.feature, s.role, s.context_id, s.start, 1 as stratum
    from feature_neighbours as n
    semi join batch_features using (feature)
    join batch_slots as s on s.feature = n.neighbour
)
select feature, role, context_id, start, if(min(stratum) = 0, 'same_token', 'neighbour') as kind
from claimed
anti join batch_slots using (feature, context_id, start)
group by feature, role, context_id, start
