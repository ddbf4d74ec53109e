-- One row per silent slot in the example index of a feature of the batch: its stratum, and the stratum's size.
-- same_token: it contains one of the feature's top tokens; else neighbour: a near neighbour fires in it; else
-- random.
-- Rows made by pipeline/compiled/strata.py: silent_strata
with wanted as (
    select feature from batch_features
    union
    select neighbour from batch_neighbours
),
batch_slots as (
    -- The candidate slots in which features of the batch and their near neighbours fire.
    select distinct activations.feature, corpus_tokens.slot
    from activations
    semi join wanted using (feature)
    join corpus_tokens using (token_index)
    where corpus_tokens.slot is not null
),
token_slots as (
    -- The candidate slots that contain the features' top tokens.
    select distinct corpus_tokens.token_id, corpus_tokens.slot
    from corpus_tokens
    semi join batch_tokens using (token_id)
    where corpus_tokens.slot is not null
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
    select batch_neighbours.feature, batch_slots.slot, 2
    from batch_neighbours
    join batch_slots on batch_slots.feature = batch_neighbours.neighbour
),
claimed as (
    select feature, slot, min(claim) as claim from claims group by feature, slot
),
claimed_counts as (
    select claimed.feature, candidate_slots.role, claimed.claim, count(*) as n_slots
    from claimed
    join candidate_slots using (slot)
    group by claimed.feature, candidate_slots.role, claimed.claim
),
random_counts as (
    select
        batch_features.feature,
        roles.role,
        3 as claim,
        roles.n_role_slots - coalesce(sum(claimed_counts.n_slots), 0) as n_slots
    from batch_features
    cross join (select role, count(*) as n_role_slots from candidate_slots group by role) as roles
    left join claimed_counts
        on claimed_counts.feature = batch_features.feature
        and claimed_counts.role = roles.role
    group by batch_features.feature, roles.role, roles.n_role_slots
),
stratum_counts as (
    select * from claimed_counts
    union all
    select * from random_counts
),
silent as (
    select drawn_slots.feature, drawn_slots.slot, candidate_slots.role, coalesce(claimed.claim, 3) as claim
    from drawn_slots
    join candidate_slots using (slot)
    left join claimed using (feature, slot)
)
select
    feature,
    slot,
    case claim when 1 then 'same_token' when 2 then 'neighbour' else 'random' end as kind,
    n_slots
from silent
join stratum_counts using (feature, role, claim)
