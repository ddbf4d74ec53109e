-- One row per explanation that is a rule, a feature's chosen one or one from a file: the rule's scores on every
-- token of the test documents.
with proved as (
    select *, 'rule' as explainer from rule_scores
    union all by name
    from stated_rule_scores
)
select
    explanations.explanation_id,
    explanations.explainer,
    'rule_exact' as scorer,
    proved.n_tokens as n_scored,
    0::bigint as n_unscored,
    1e0 as coverage,
    proved.n_fired as n_positive,
    proved.n_tokens - proved.n_fired as n_negative,
    proved.* exclude (explainer, n_tokens, n_fired, n_right)
from explanations
join proved using (sae, feature, explainer)
