-- One row per feature: what is known of it in words, by an explainer of the config (all others are controls). An
-- LLM's explanation goes before a rule, of several draws the chosen one stands for the feature, and a rule that
-- was not asked to stand for it is said to be one.
with worded as (
    select
        sae,
        feature,
        explanation,
        row_number() over (
            partition by sae, feature
            order by explainer = 'rule', explainer
        ) as place
    from explanations
    where status = 'ok' and is_chosen and list_contains($explaining_explainers::varchar[], explainer)
),
rules as (
    select sae, feature, rule, train_f1 from feature_rules where is_chosen
)
select
    feature_routes.sae,
    feature_routes.feature,
    feature_routes.route,
    coalesce(
        worded.explanation,
        if(
            feature_routes.route = 'rule',
            rules.rule,
            format('(not explained; its best rule, F1 {:.2f}: {})', rules.train_f1, rules.rule)
        ),
        '(not explained)'
    ) as words
from feature_routes
left join worded
    on worded.sae = feature_routes.sae
    and worded.feature = feature_routes.feature
    and worded.place = 1
left join rules on rules.sae = feature_routes.sae and rules.feature = feature_routes.feature
