-- One row per batch with a selected feature that is not finished, highest priority first.
-- A batch is unfinished if a feature has no explanation, if an explanation to be scored has no score since it was
-- made (without scorers in the config none is to be scored), or if a request failed in transit or for lack of
-- budget.
-- Features beyond scoring.max_features by draw may stay without a score, and so may explanations about which every
-- scorer of the config states that it asks nothing. A feature that was beyond a limit (max_features) and is within
-- it now, because the selection changed, makes its batch unfinished. So does a feature with explanations of two
-- selections (an explainer was removed and added again, and features joined or left in between): it then has two
-- places, or one of its scores belongs to an explanation that is gone.
-- Batches scored before documents were added (stale_batches) count as finished; with selection.remake_stale, as
-- unfinished.
-- Each table is read once: there may be thousands of files.
with known as materialized (
    select explanation_id, sae, feature, place, generation, status, is_chosen from explanations
),
unanswered as materialized (
    select explanation_id, sae, feature, status
    from predictions
    where is_failed(status) or status = 'not_asked'
),
failed as (
    select sae, feature from known where is_failed(status)
    union
    select sae, feature from unanswered where is_failed(status)
),
not_asked as (
    select explanation_id
    from unanswered
    where status = 'not_asked'
    group by explanation_id
    having count(*) = len($scoring_scorers::varchar[])
),
unscored as (
    select known.sae, known.feature
    from known
    anti join scores
        on scores.explanation_id = known.explanation_id
        and scores.generation is not distinct from known.generation
        and scores.place is not distinct from known.place
    anti join not_asked on not_asked.explanation_id = known.explanation_id
    where
        known.status = 'ok'
        and (known.is_chosen or $scoring_all_draws)
        and len($scoring_scorers::varchar[]) > 0
),
mixed as (
    select sae, feature from known
    group by sae, feature
    having min(place) < max(place)
    union
    select scores.sae, scores.feature from scores
    anti join known using (explanation_id)
),
fresh_features as (
    select * from selected_features
    anti join stale_batches using (sae, batch)
),
open_features as (
    select * from fresh_features
    anti join known using (sae, feature)
    union
    select * from fresh_features
    semi join failed using (sae, feature)
    union
    select * from fresh_features
    semi join mixed using (sae, feature)
    union
    select * from fresh_features
    semi join unscored using (sae, feature)
    where coalesce(place <= $scoring_max_features::int, true)
    union
    select fresh_features.* from fresh_features
    join known using (sae, feature)
    where
        (known.place > $explaining_max_features::int and fresh_features.place <= $explaining_max_features::int)
        or (known.place > $scoring_max_features::int and fresh_features.place <= $scoring_max_features::int)
    union
    select * from selected_features
    semi join stale_batches using (sae, batch)
    where $selection_remake_stale
)
select sae, batch, max(priority) as priority, count(*) as n_features
from open_features
group by sae, batch
order by priority desc, batch, sae
