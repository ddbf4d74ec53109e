-- One row per verified candidate, token and place: does it fire on the token among random ones?
-- Firings on the other tokens, position 0 left out, are the rate at which it would fire there anyway.
with texts as (
    select u.feature, u.token_id, u.fire_share, t.context_id, t.place, len(t.token_ids) as n_tokens
    from unigram_tokens as u
    join scrambled_texts as t using (token_id)
),
firings as (
    select
        feature,
        token_index // (select any_value(len(token_ids)) from scrambled_texts) as context_id,
        token_index % (select any_value(len(token_ids)) from scrambled_texts) as position,
        activation::double as activation
    from scrambled_firings
),
fired as (
    select
        t.*,
        max(f.activation) filter (f.position = t.place) as activation,
        count(*) filter (f.position <> t.place and f.position >= 1) as n_fillers_active
    from texts as t
    left join firings as f using (feature, context_id)
    group by all
)
select
    $sae as sae,
    feature,
    token_id,
    place,
    $scrambling_fillers as fillers,
    count(*) as n_contexts,
    count(activation) as n_active,
    avg(activation) as mean_activation,
    sum(n_tokens - 2)::bigint as n_fillers,
    sum(n_fillers_active)::bigint as n_fillers_active,
    any_value(fire_share) as fire_share
from fired
group by feature, token_id, place
order by feature, token_id, place
