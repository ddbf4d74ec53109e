-- One row per figure of fuzzing_pairs: the right windows of the batch, and those dropped for lack of a partner.
select
    unnest([
        {'figure': 'n_pairs', 'value': count(partner_id)},
        {'figure': 'n_dropped', 'value': count(*) - count(partner_id)}
    ], recursive := true)
from fuzzing_pairs
