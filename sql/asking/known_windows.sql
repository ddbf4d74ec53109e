-- One row per window, and way of marking it, that a prompt about the batch may contain, with the truth about it:
-- whether the feature fires in it, and if it has marks, whether they are correct.
select
    feature,
    token_ids,
    null::int[] as marked,
    role = 'train' and kind = 'activating' as is_shown,
    kind = 'activating' as label
from examples
union all
select
    feature,
    token_ids,
    marked_positions(activations, peak, $explaining_marked_share),
    false,
    true
from examples
where role = 'test' and kind = 'activating'
union all
select
    fuzzing_pairs.feature,
    examples.token_ids,
    fuzzing_pairs.marked,
    false as is_shown,
    examples.example_id = fuzzing_pairs.example_id as label
from fuzzing_pairs
join examples
    on examples.feature = fuzzing_pairs.feature
    and examples.example_id in (fuzzing_pairs.example_id, fuzzing_pairs.partner_id)
where fuzzing_pairs.partner_id is not null
