-- One row per wanted feature: within each batch of feature ids, the first of each route by draw, up to the
-- route's quota; without quotas, every wanted feature. wanted_features is all, a list, or what a condition left.
-- place is another draw: controls, and where the config bounds them LLM requests, go to a batch's first features.
-- It is a hash of a hash: that of several values ends in an xor with the last one, so that two draws that differ
-- in their purpose alone would go together, and a route's selected features would stand first or last.
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
)
select
    sae,
    feature,
    batch,
    row_number() over (
        partition by sae, batch order by hash(hash($seed::bigint, sae, feature::int, 'batch')), feature
    )::int as place,
    priority
from drawn
left join quotas using (route)
where $quota_routes is null or place_in_route <= quota
order by sae, feature
