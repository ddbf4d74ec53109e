-- One row per verified candidate, token and position: how often it fires on the token among random ones. Its
-- firings on the other tokens, position 0 left out, give the rate at which it would fire there anyway.
with texts as (
    select
        unigram_tokens.feature,
        unigram_tokens.token_id,
        unigram_tokens.fire_share,
        scrambled_texts.context_id,
        scrambled_texts.place,
        len(scrambled_texts.token_ids) as n_tokens
    from unigram_tokens
    join scrambled_texts using (token_id)
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
        texts.*,
        max(firings.activation) filter (firings.position = texts.place) as activation,
        count(*) filter (firings.position <> texts.place and firings.position >= 1) as n_fillers_active
    from texts
    left join firings using (feature, context_id)
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
