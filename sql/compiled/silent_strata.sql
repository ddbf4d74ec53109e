-- One row per feature of the batch and silent slot that may be drawn for it: its stratum, the stratum's size, and
-- its order in the draw, for which the strata do not count.
-- same_token: it contains one of the feature's top tokens; else neighbour: a near neighbour fires in it; else
-- random.
-- Each stratum of a role is drawn from all of its slots, the first $sampling_silent_draws by hash: in a sample of
-- all silent slots, the strata that are rare among them would be nearly empty, and a feature's questions easy.
-- The first so many of the draw are those of all silent slots, whatever their strata.
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
silent as (
    select
        batch_features.feature,
        candidate_slots.slot,
        candidate_slots.role,
        coalesce(claimed.claim, 3) as stratum,
        hash(xor(silent_lots.lot, batch_features.feature::ubigint)) as lot
    from batch_features
    -- A feature that never fires has no examples.
    semi join (select feature from batch_slots) as firing using (feature)
    cross join candidate_slots
    join silent_lots using (slot)
    left join claimed
        on claimed.feature = batch_features.feature
        and claimed.slot = candidate_slots.slot
    where claimed.claim is distinct from 0
),
drawn as (
    select *, count(*) over (partition by feature, role, stratum) as n_slots
    from silent
    qualify
        row_number() over (partition by feature, role, stratum order by lot, slot) <= $sampling_silent_draws
)
select
    feature,
    slot,
    case stratum when 1 then 'same_token' when 2 then 'neighbour' else 'random' end as kind,
    row_number() over (partition by feature, role order by lot, slot) as draw,
    n_slots
from drawn
