-- One row per feature: what is known of it in words. An LLM's explanation goes before a rule, and a rule that was
-- not asked to stand for the feature is said to be one.
with worded as (
    select
        sae,
        feature,
        explanation,
        row_number() over (
            partition by sae, feature
            order by explainer = 'rule', explainer, draw
        ) as place
    from explanations
    where status = 'ok' and explainer not in ('empty', 'other_feature')
),
rules as (
    select sae, feature, rule, train_f1 from feature_rules where is_chosen
)
select
    r.sae,
    r.feature,
    r.route,
    coalesce(
        w.explanation,
        if(r.route = 'rule', u.rule, format('(not explained; its best rule, F1 {:.2f}: {})', u.train_f1, u.rule)),
        '(not explained)'
    ) as words
from feature_routes as r
left join worded as w on w.sae = r.sae and w.feature = r.feature and w.place = 1
left join rules as u on u.sae = r.sae and u.feature = r.feature
