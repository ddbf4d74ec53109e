-- One row per window size, token of the train documents (from position 1 on) and token that occurs within that
-- many tokens before it: on how many tokens.
with distances as (
    select unnest(range(1, list_max($rules_windows::bigint[]) + 1)) as distance
),
before as (
    select
        contexts.context_id,
        distances.distance,
        unnest(contexts.token_ids[distances.distance + 1 :]) as token_id,
        unnest(contexts.token_ids[: -(distances.distance + 1)]) as previous_token_id,
        generate_subscripts(contexts.token_ids[distances.distance + 1 :], 1) + distances.distance as position
    from contexts
    join documents using (doc_id)
    cross join distances
    where documents.role = 'train' and len(contexts.token_ids) > distances.distance
),
nearest as (
    select any_value(token_id) as token_id, previous_token_id, min(distance) as distance
    from before
    group by context_id, position, previous_token_id
),
windows as (
    select unnest($rules_windows::bigint[]) as n_before
)
select
    windows.n_before::int as n_before,
    nearest.token_id,
    nearest.previous_token_id,
    count(*)::int as n_tokens
from nearest
join windows on nearest.distance <= windows.n_before
group by windows.n_before, nearest.token_id, nearest.previous_token_id
order by windows.n_before, nearest.token_id, nearest.previous_token_id
