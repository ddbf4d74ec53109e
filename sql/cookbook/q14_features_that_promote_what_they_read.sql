-- One row per feature: which features raise the logits of the tokens that they fire on?
select
    feature_stats.sae,
    feature_stats.feature,
    list_transform(feature_stats.top_tokens[:5], lambda token: token.text) as fires_on,
    list_transform(feature_logits.promoted[:5], lambda token: token.text) as promotes,
    len(
        list_intersect(
            list_transform(feature_stats.top_tokens, lambda token: token.token_id),
            list_transform(feature_logits.promoted, lambda token: token.token_id)
        )
    ) as n_in_both
from feature_stats
join feature_logits using (sae, feature)
where feature_stats.n_active >= 100 and feature_logits.promoted is not null
order by n_in_both desc, feature_stats.feature
