-- One row per explainer, controls included, and verdict: how many readers' last ratings of its explanations give
-- this verdict.
select
    explanation_index.explainer,
    last_ratings.verdict,
    count(*) as n,
    any_value(explanation_index.is_control) as is_control
from last_ratings
join explanation_index using (explanation_id)
group by explanation_index.explainer, last_ratings.verdict
order by is_control, explanation_index.explainer, last_ratings.verdict
