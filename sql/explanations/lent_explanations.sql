-- One row per feature of the batch with an explanation that the control of another may borrow: of those written
-- (`own_explanations`, numbered in the order of the config's explainers), the first that scorers judge.
select own_explanations.feature, own_explanations.explainer, own_explanations.explanation
from own_explanations
join feature_routes using (feature)
where
    own_explanations.is_chosen
    and own_explanations.explanation <> ''
    and is_scored(own_explanations.explainer, feature_routes.route)
qualify row_number() over (partition by own_explanations.feature order by own_explanations.number) = 1
