-- One row per feature with train firings: the tokens with the largest summed activation, with their texts.
-- fire_share is p(fire | token) on train documents.
select
    feature,
    list({
        'token_id': token_id,
        'text': tokens.text,
        'n_active': n_active,
        'n_tokens': n_tokens,
        'fire_share': n_active / n_tokens,
        'mean_activation': sum_activation / n_active
    } order by place) as top_tokens
from heaviest_tokens
join train_tokens using (token_id)
join tokens using (token_id)
group by feature
