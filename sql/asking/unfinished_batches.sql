-- One row per batch with a selected feature that is not done, highest priority first: it has no explanation
-- yet, an explanation that is to be scored has no score, or a request failed on its way or for want of budget.
-- Features behind scoring.max_features by draw may be left without a score, and so may explanations about which
-- each of the config's scorers says that it asks nothing. Of batches that were scored before documents were added
-- (stale_batches) nothing is open, or with selection.remake_stale everything.
with failed as (
    select sae, feature from explanations where status in ('http_error', 'budget')
    union
    select sae, feature from predictions where status in ('http_error', 'budget')
),
not_asked as (
    select explanation_id
    from predictions
    where status = 'not_asked'
    group by explanation_id
    having count(*) = len($scoring_scorers::varchar[])
),
unscored as (
    select explanations.sae, explanations.feature
    from explanations
    anti join scores
        on scores.explanation_id = explanations.explanation_id
        and scores.generation is not distinct from explanations.generation
    anti join not_asked on not_asked.explanation_id = explanations.explanation_id
    where explanations.status = 'ok' and (explanations.is_chosen or $scoring_all_draws)
),
fresh_features as (
    select * from selected_features
    anti join stale_batches using (sae, batch)
),
open_features as (
    select * from fresh_features
    anti join explanations using (sae, feature)
    union
    select * from fresh_features
    semi join failed using (sae, feature)
    union
    select * from fresh_features
    semi join unscored using (sae, feature)
    where coalesce(place <= $scoring_max_features::int, true)
    union
    select * from selected_features
    semi join stale_batches using (sae, batch)
    where $selection_remake_stale
)
select sae, batch, max(priority) as priority, count(*) as n_features
from open_features
group by sae, batch
order by priority desc, batch, sae
