-- One row per scorer, explainer and route of SAE $sae: means over features, coverage and tokens, controls last; and for
-- a scorer with AUROC its mean against the windows that hold a token of the feature, which words alone cannot tell.
with same_token as (
    select d.scorer, d.explainer, r.route, avg(d.value) as same_token_auroc
    from score_details as d
    join feature_routes as r using (sae, feature)
    where d.sae = $sae and d.role = 'test' and d.metric = 'auroc' and d.stratum = 'same_token'
    group by d.scorer, d.explainer, r.route
)
select
    s.scorer,
    s.metric,
    s.explainer,
    s.route,
    s.n_features,
    s.mean,
    s.ci_low,
    s.ci_high,
    t.same_token_auroc,
    s.coverage,
    s.prompt_tokens,
    s.rho_found
from summary as s
left join same_token as t using (scorer, explainer, route)
where s.sae = $sae
order by s.scorer, s.explainer in ('empty', 'other_feature'), s.explainer, s.route
