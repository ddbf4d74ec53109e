-- One row per window and way of marking it that a prompt about the batch may hold, with what is true of it: whether
-- the feature fires in it, and of a window of fuzzing whether its marks are the right ones.
select
    feature,
    token_ids,
    null::int[] as marked,
    role = 'train' and kind = 'activating' as is_shown,
    kind = 'activating' as label
from examples
union all
select p.feature, x.token_ids, p.marked, false as is_shown, x.example_id = p.example_id as label
from fuzzing_pairs as p
join examples as x on x.feature = p.feature and x.example_id in (p.example_id, p.partner_id)
where p.partner_id is not null
