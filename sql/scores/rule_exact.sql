-- One row per explanation that is a chosen rule: the rule's scores on every token of the test documents.
select
    explanations.explanation_id,
    explanations.explainer,
    'rule_exact' as scorer,
    rule_scores.n_tokens as n_scored,
    0::bigint as n_unscored,
    1e0 as coverage,
    rule_scores.n_fired as n_positive,
    rule_scores.n_tokens - rule_scores.n_fired as n_negative,
    rule_scores.* exclude (n_tokens, n_fired, n_right)
from explanations
join rule_scores using (sae, feature)
where explanations.explainer = 'rule'
