-- One row per mined rule that looks through a window of several tokens: how many tokens of the train documents
-- (position 0 left out) it matches, and on how many of these its feature fires.
-- Rows made by pipeline/compiled/rules/proving.py: window_counts
with class_tokens as (
    select token_class, list(token_id) as token_ids from token_classes group by token_class
),
ruled as (
    select
        mined_rules.rule_id,
        mined_rules.feature,
        mined_rules.n_before,
        coalesce(mined_rules.token_ids, class_tokens.token_ids) as token_ids,
        mined_rules.previous_token_ids
    from mined_rules
    left join class_tokens using (token_class)
    where mined_rules.n_before > 1
),
placed as (
    select corpus_tokens.token_index, corpus_tokens.context_id, corpus_tokens.token_id, corpus_tokens.position
    from corpus_tokens
    join corpus_documents using (document_number)
    where corpus_tokens.position >= 1 and corpus_documents.role = 'train'
),
named_tokens as (
    select rule_id, unnest(token_ids) as token_id from ruled
),
named_before as (
    select rule_id, feature, n_before, token_ids is null as is_any, unnest(previous_token_ids) as previous_token_id
    from ruled
),
predicted as (
    select distinct named_before.rule_id, named_before.feature, placed.token_index
    from named_before
    join corpus_tokens on corpus_tokens.token_id = named_before.previous_token_id
    join placed
        on placed.context_id = corpus_tokens.context_id
        and placed.position between corpus_tokens.position + 1 and corpus_tokens.position + named_before.n_before
    left join named_tokens
        on named_tokens.rule_id = named_before.rule_id and named_tokens.token_id = placed.token_id
    where named_before.is_any or named_tokens.token_id is not null
)
select
    predicted.rule_id,
    count(*)::double as n_predicted,
    count(activations.activation)::double as n_right
from predicted
left join activations using (feature, token_index)
group by predicted.rule_id
