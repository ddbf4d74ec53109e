-- One row per explainer, controls among them, and verdict: how many judgements of its explanations say so, the
-- last of each reader.
with last_ratings as (
    select explanation_id, rater, arg_max(verdict, rated_at) as verdict
    from ratings
    group by explanation_id, rater
)
select
    explanations.explainer,
    last_ratings.verdict,
    count(*) as n,
    not list_contains($explaining_explainers::varchar[], explanations.explainer) as is_control
from last_ratings
join explanations using (explanation_id)
group by explanations.explainer, last_ratings.verdict
order by is_control, explanations.explainer, last_ratings.verdict
