-- One row per explainer and scorer of SAE $sae with LLM scores: means over features, coverage and tokens.
select
    explainer, scorer, route, n_features, mean, ci_low, ci_high, coverage, prompt_tokens, cached_tokens,
    completion_tokens, rho_found
from summary
where sae = $sae
order by explainer, scorer, route
