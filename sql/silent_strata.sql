-- One row per feature of the batch and slot in which it is silent and that is in a stratum of hard negatives:
-- same_token (one of its top tokens stands there), else neighbour (a near neighbour fires there).
-- Every other silent slot is `random`.
with top_tokens as (
    select s.feature, unnest(s.top_tokens).token_id as token_id
    from feature_stats as s
    semi join batch_features using (feature)
),
token_slots as (
    select distinct c.token_id, c.slot
    from corpus_tokens as c
    semi join top_tokens using (token_id)
    where c.slot is not null
),
claims as (
    select feature, slot, 0 as claim  -- it fires there itself
    from batch_slots
    semi join batch_features using (feature)
    union all
    select feature, slot, 1
    from top_tokens
    join token_slots using (token_id)
    union all
    select n.feature, s.slot, 2
    from feature_neighbours as n
    semi join batch_features using (feature)
    join batch_slots as s on s.feature = n.neighbour
),
claimed as (
    select feature, slot, min(claim) as claim from claims group by feature, slot
)
select c.feature, s.role, s.context_id, s.start, if(claim = 1, 'same_token', 'neighbour') as kind
from claimed as c
join candidate_slots as s using (slot)
where claim > 0
