-- One row per selected feature: within each batch, the first wanted features of each route by draw, up to the
-- route's quota; without quotas, every wanted feature. wanted_features holds all features, those of a list, or
-- those that meet a condition.
-- place ranks a batch's features by another draw. Controls, the pilot and, where the config limits them, LLM
-- requests take the first ranks. Routes alternate in proportion to their size, so the first ranks are a small
-- copy of the batch: the r-th feature by draw of a route's n is at (r - 1/2) / n.
-- The second draw is a hash of a hash (`draw_hash`), so that it is unrelated to the first.
with quotas as (
    select unnest($quota_routes::varchar[]) as route, unnest($quota_sizes::int[]) as quota
),
drawn as (
    select
        sae,
        feature,
        route,
        priority,
        feature // $selection_batch_size as batch,
        row_number() over (
            partition by sae, feature // $selection_batch_size, route
            order by draw_hash($seed, (sae, feature, 'selected')), feature
        ) as rank_in_route
    from feature_routes
    join wanted_features using (sae, feature)
),
shared as (
    select
        drawn.*,
        hash(draw_hash($seed, (sae, feature, 'batch'))) as batch_hash,
        (row_number() over (partition by sae, batch, route order by batch_hash, feature) - 0.5)
        / count(*) over (partition by sae, batch, route) as share_before
    from drawn
    left join quotas using (route)
    where $quota_routes is null or rank_in_route <= quota
)
select
    sae,
    feature,
    batch,
    row_number() over (partition by sae, batch order by share_before, batch_hash, feature)::int as place,
    priority
from shared
order by sae, feature
