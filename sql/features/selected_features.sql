-- One row per wanted feature: within each batch of feature ids, the first of each route by draw, up to the
-- route's quota; without quotas, every wanted feature. wanted_features is all, a list, or what a condition left.
-- place is another draw: controls, the pilot, and where the config bounds them LLM requests, go to a batch's first
-- features. It takes the routes in proportion, so that the first of a batch are its routes in small: the r-th by
-- draw of a route's n features stands at (r - 1/2) / n. The draw is a hash of a hash: that of several values ends
-- in an xor with the last one, so that two draws that differ in their purpose alone would go together.
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
            order by hash($seed::bigint, sae, feature::int, 'selected'), feature
        ) as place_in_route
    from feature_routes
    join wanted_features using (sae, feature)
),
shared as (
    select
        drawn.*,
        hash(hash($seed::bigint, sae, feature::int, 'batch')) as batch_hash,
        (row_number() over (partition by sae, batch, route order by batch_hash, feature) - 0.5)
        / count(*) over (partition by sae, batch, route) as share_before
    from drawn
    left join quotas using (route)
    where $quota_routes is null or place_in_route <= quota
)
select
    sae,
    feature,
    batch,
    row_number() over (partition by sae, batch order by share_before, batch_hash, feature)::int as place,
    priority
from shared
order by sae, feature
