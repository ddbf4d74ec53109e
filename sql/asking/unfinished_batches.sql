-- One row per batch with a selected feature that is not done, highest priority first: it has no explanation
-- yet, an explanation that is to be scored has no score, or a request failed on its way or for want of budget.
-- Features behind scoring.max_features by draw may be left without a score.
with failed as (
    select sae, feature from explanations where status in ('http_error', 'budget')
    union
    select sae, feature from predictions where status in ('http_error', 'budget')
),
unscored as (
    select e.sae, e.feature
    from explanations as e
    anti join scores as s on s.explanation_id = e.explanation_id
    where e.status = 'ok'
),
open_features as (
    select s.*
    from selected_features as s
    left join (select distinct sae, feature, true as is_explained from explanations) as e using (sae, feature)
    where e.is_explained is null
       or (s.sae, s.feature) in (select (sae, feature) from failed)
       or (
           coalesce(s.place <= $scoring_max_features::int, true)
           and (s.sae, s.feature) in (select (sae, feature) from unscored)
       )
)
select sae, batch, max(priority) as priority, count(*) as n_features
from open_features
group by sae, batch
order by priority desc, batch, sae
