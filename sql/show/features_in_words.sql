-- One row per feature: what is known about it, in words. The explanation that stands for it (explanation_ranks)
-- takes precedence over its rule, and a rule that does not stand for the feature is labelled as such.
with rules as (
    select sae, feature, rule, train_f1 from feature_rules where is_chosen
)
select
    feature_routes.sae,
    feature_routes.feature,
    feature_routes.route,
    coalesce(
        explanation_ranks.explanation,
        if(
            feature_routes.route = 'rule',
            rules.rule,
            format('(not explained; its best rule, F1 {:.2f}: {})', rules.train_f1, rules.rule)
        ),
        '(not explained)'
    ) as words
from feature_routes
left join explanation_ranks
    on explanation_ranks.sae = feature_routes.sae
    and explanation_ranks.feature = feature_routes.feature
    and explanation_ranks.rank = 1
left join rules on rules.sae = feature_routes.sae and rules.feature = feature_routes.feature
