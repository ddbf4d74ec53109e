-- One row per batch with a selected feature that is not done, highest priority first: it has no explanation
-- yet, an explanation that is to be scored has no score, or a request failed on its way or for want of budget.
-- Features behind scoring.max_features by draw may be left without a score, and so may explanations about which
-- each of the config's scorers says that it asks nothing.
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
    anti join scores on scores.explanation_id = explanations.explanation_id
    anti join not_asked on not_asked.explanation_id = explanations.explanation_id
    where explanations.status = 'ok' and (explanations.is_chosen or $scoring_all_draws)
),
explained as (
    select distinct sae, feature, true as is_explained from explanations
),
open_features as (
    select selected_features.*
    from selected_features
    left join explained using (sae, feature)
    where explained.is_explained is null
        or (selected_features.sae, selected_features.feature) in (select (sae, feature) from failed)
        or (
            coalesce(selected_features.place <= $scoring_max_features::int, true)
            and (selected_features.sae, selected_features.feature) in (select (sae, feature) from unscored)
        )
)
select sae, batch, max(priority) as priority, count(*) as n_features
from open_features
group by sae, batch
order by priority desc, batch, sae
