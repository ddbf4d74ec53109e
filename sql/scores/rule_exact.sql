-- One row per explanation by the chosen rule: the rule's scores on every token of the test documents.
select
    e.explanation_id,
    e.explainer,
    'rule_exact' as scorer,
    'test' as role,
    s.n_tokens as n_scored,
    0::bigint as n_unscored,
    1e0 as coverage,
    s.n_fired as n_positive,
    s.n_tokens - s.n_fired as n_negative,
    s.* exclude (n_tokens, n_fired, n_right)
from explanations as e
join rule_scores as s using (sae, feature)
where e.explainer = 'rule'
