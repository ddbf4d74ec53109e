-- One row per silent slot in the example index of a feature of the batch: its stratum, and the stratum's size.
-- same_token: one of the feature's top tokens stands there; else neighbour: a near neighbour fires there; else random.
-- Rows made by pipeline/compiled/strata.py: silent_strata
with batch_slots as (
    -- Of the features of the batch and of their near neighbours: the candidate slots that they fire in.
    select distinct a.feature, t.slot
    from activations as a
    semi join (select feature from batch_features union select neighbour from batch_neighbours) as w
        on w.feature = a.feature
    join corpus_tokens as t using (token_index)
    where t.slot is not null
),
token_slots as (
    -- Of the features' top tokens: the candidate slots that they stand in.
    select distinct c.token_id, c.slot
    from corpus_tokens as c
    semi join batch_tokens using (token_id)
    where c.slot is not null
),
claims as (
    select feature, slot, 0 as claim  -- it fires there itself
    from batch_slots
    semi join batch_features using (feature)
    union all
    select feature, slot, 1
    from batch_tokens
    join token_slots using (token_id)
    union all
    select n.feature, s.slot, 2
    from batch_neighbours as n
    join batch_slots as s on s.feature = n.neighbour
),
claimed as (
    select feature, slot, min(claim) as claim from claims group by feature, slot
),
claimed_counts as (
    select c.feature, s.role, c.claim, count(*) as n_slots
    from claimed as c
    join candidate_slots as s using (slot)
    group by c.feature, s.role, c.claim
),
random_counts as (
    select t.feature, r.role, 3 as claim, r.n_role_slots - coalesce(sum(c.n_slots), 0) as n_slots
    from batch_features as t
    cross join (select role, count(*) as n_role_slots from candidate_slots group by role) as r
    left join claimed_counts as c on c.feature = t.feature and c.role = r.role
    group by t.feature, r.role, r.n_role_slots
),
silent as (
    select d.feature, d.slot, s.role, coalesce(c.claim, 3) as claim
    from drawn_slots as d
    join candidate_slots as s using (slot)
    left join claimed as c using (feature, slot)
)
select feature, slot, case claim when 1 then 'same_token' when 2 then 'neighbour' else 'random' end as kind, n_slots
from silent
join (from claimed_counts union all from random_counts) using (feature, role, claim)
