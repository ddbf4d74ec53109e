-- One row per test slot that may be an example of a feature of the batch, with its order in the draw: activating
-- slots a decile in turn, silent ones a stratum in turn, different documents first. Where $scoring_silent is
-- random, silent ones by hash alone, the first of all of them: further ones are known of rare strata only. Slots
-- that the index keeps only for their strength have no order.
select
    * exclude (turn_in_document, turn_in_stratum) replace (
        row_number() over (
            partition by feature, kind = 'activating'
            order by if(kind = 'activating' or $scoring_silent = 'strata', turn_in_stratum, 0), draw
        ) as draw,
        if(kind = 'activating' or $scoring_silent = 'strata', reach, null) as reach
    ),
    false as is_judge
from slots_in_turn
where role = 'test' and (kind = 'activating' or $scoring_silent = 'strata' or draw <= $sampling_silent_draws)
union all by name
select batch_index.* exclude (sae, slot), 'activating' as kind, contexts.doc_id, false as is_judge
from batch_index
join contexts using (context_id)
where batch_index.role = 'test' and batch_index.draw is null
