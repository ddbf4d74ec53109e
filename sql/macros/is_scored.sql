-- Whether scorers judge an explainer's explanations of features on a route: rules only on route `rule`, as on
-- other routes no rule predicts the feature well.
create macro is_scored(explainer, route) as explainer <> 'rule' or route = 'rule'
