-- One row per slot that is taken for a feature of the batch, with its stratum's size and the place in which it
-- is taken. Train: what the explainer may be shown, by the sampling of the config. Test: what the scorers ask
-- about, activating slots a decile in turn and silent ones a stratum in turn, distinct documents first.
with totals as (
    select role, count(*) as n_role_slots from slots where is_candidate group by role
),
active_counts as (
    select a.feature, s.role, count(*) as n_active
    from batch_slots as a
    semi join batch_features using (feature)
    join candidate_slots as s using (slot)
    group by a.feature, s.role
),
stratum_counts as (
    select feature, role, kind, count(*) as n_slots from silent_strata group by feature, role, kind
),
silent_counts as (
    select feature, role, kind, n_slots from stratum_counts
    union all
    select
        b.feature,
        t.role,
        'random',
        t.n_role_slots - coalesce(a.n_active, 0) - coalesce((
            select sum(n_slots) from stratum_counts as c where c.feature = b.feature and c.role = t.role
        ), 0)
    from batch_features as b
    cross join totals as t
    left join active_counts as a on a.feature = b.feature and a.role = t.role
),
candidates as (
    select
        i.feature,
        i.context_id,
        i.start,
        i.peak,
        i.role,
        if(i.kind = 'activating', 'activating', coalesce(s.kind, 'random')) as kind,
        i.decile,
        i.rank,
        i.draw,
        i.n_slots as n_index_slots,
        c.doc_id
    from example_index as i
    semi join batch_features using (feature)
    join contexts as c using (context_id)
    left join silent_strata as s
        on s.feature = i.feature and s.context_id = i.context_id and s.start = i.start
),
spread as (
    select *, row_number() over (partition by feature, role, kind, doc_id order by draw) as place_in_document
    from candidates
),
in_stratum as (
    select
        *,
        row_number() over (partition by feature, role, kind, decile order by place_in_document, draw)
            as place_in_stratum,
        row_number() over (partition by feature, role, kind order by draw) as place_by_draw,
        row_number() over (partition by feature, role, kind, rank <= $sampling_top order by draw) as place_in_top
    from spread
),
train as (
    select
        *,
        row_number() over (
            partition by feature
            order by
                case $explaining_sampling
                    when 'top' then rank
                    when 'random' then place_by_draw
                    when 'top_sample' then if(rank <= $sampling_top, place_in_top, 1000000 + rank)
                    -- Every second one from the top, every second one from all.
                    when 'mixture' then least(if(rank <= $sampling_top, 2 * place_in_top, 1000000), 2 * place_by_draw + 1)
                    else place_in_stratum
                end,
                draw
        ) as place
    from in_stratum
    where role = 'train' and kind = 'activating'
    qualify place <= $explaining_n_examples
),
test as (
    select
        *,
        row_number() over (partition by feature, kind = 'activating' order by place_in_stratum, draw) as place
    from in_stratum
    where role = 'test'
    -- Twice the questions of a side: wrong marks need windows to choose from.
    qualify place <= if(kind = 'activating', 1, 2) * $scoring_n_questions
)
select
    t.feature, t.context_id, t.start, t.peak, t.role, t.kind, t.decile, t.rank, t.place as draw, t.doc_id,
    coalesce(c.n_slots, t.n_index_slots) as n_slots
from (select * from train union all select * from test) as t
left join silent_counts as c on c.feature = t.feature and c.role = t.role and c.kind = t.kind
