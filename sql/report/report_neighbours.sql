-- One row per SAE, explainer and rank of a neighbour (1 is the nearest): how often the scorer neighbours says
-- no, as it should, about a window of that neighbour, with Wilson's interval over windows.
with answered as (
    select
        predictions.sae,
        explanations.explainer,
        feature_neighbours.rank,
        not predictions.prediction as is_right,
        feature_neighbours.cosine
    from predictions
    join explanations using (explanation_id)
    join examples on examples.example_id = predictions.example_id
    join feature_neighbours
        on feature_neighbours.sae = predictions.sae
        and feature_neighbours.feature = predictions.feature
        and feature_neighbours.neighbour = examples.feature
    where
        predictions.scorer = 'neighbours'
        and predictions.role = 'test'
        and not predictions.label
        and predictions.status = 'ok'
),
rates as (
    select
        sae,
        explainer,
        rank,
        count(*) as n,
        avg(is_right::int) as share_right,
        avg(cosine) as mean_cosine,
        power($scoring_z::double, 2) / count(*) as z2_n
    from answered
    group by sae, explainer, rank
)
select
    sae,
    explainer,
    not list_contains($explaining_explainers::varchar[], explainer) as is_control,
    rank,
    mean_cosine,
    n,
    share_right,
    (share_right + z2_n / 2 - sqrt(z2_n * (share_right * (1 - share_right) + z2_n / 4))) / (1 + z2_n) as ci_low,
    (share_right + z2_n / 2 + sqrt(z2_n * (share_right * (1 - share_right) + z2_n / 4))) / (1 + z2_n) as ci_high
from rates
order by sae, is_control, explainer, rank
