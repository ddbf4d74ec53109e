-- One row per proved rule and role with a document in which its feature fires or the rule matches, position 0 left
-- out. Sums over these documents: tokens on which the feature fires (n_fired), tokens that the rule matches
-- (n_predicted), and both (n_right); the products of two of them; and the documents' tokens.
-- Rows made by pipeline/compiled/rules/proving.py: rule_sums
with class_tokens as (
    select token_class, list(token_id) as token_ids from token_classes group by token_class
),
ruled as (
    select
        proved_rules.rule_id,
        proved_rules.feature,
        -- A class without a token in the vocabulary has none.
        coalesce(
            proved_rules.token_ids, class_tokens.token_ids, if(proved_rules.token_class is null, null, [])
        ) as token_ids,
        coalesce(proved_rules.previous_token_ids, before_tokens.token_ids) as before_ids,
        proved_rules.n_before,
        proved_rules.is_excluded,
        proved_rules.position_below
    from proved_rules
    left join class_tokens on class_tokens.token_class = proved_rules.token_class
    left join class_tokens as before_tokens  -- noqa: AL07
        on before_tokens.token_class = proved_rules.previous_class
),
placed as (
    select token_index, document_number, context_id, token_id, position
    from corpus_tokens
    where position >= 1
),
named_tokens as (
    select distinct rule_id, unnest(token_ids) as token_id from ruled
),
named_before as (
    select distinct rule_id, unnest(before_ids) as token_id from ruled
),
of_token as (
    select named_tokens.rule_id, placed.*
    from named_tokens
    join placed using (token_id)
    union all
    select ruled.rule_id, placed.*
    from ruled
    cross join placed
    where ruled.token_ids is null
),
after_token as (
    select distinct of_token.rule_id, of_token.token_index
    from of_token
    join ruled using (rule_id)
    join corpus_tokens
        on corpus_tokens.context_id = of_token.context_id
        and corpus_tokens.position between of_token.position - ruled.n_before and of_token.position - 1
    join named_before on named_before.rule_id = of_token.rule_id and named_before.token_id = corpus_tokens.token_id
),
predicted as (
    select of_token.rule_id, of_token.token_index, of_token.document_number
    from of_token
    join ruled using (rule_id)
    left join after_token
        on after_token.rule_id = of_token.rule_id and after_token.token_index = of_token.token_index
    where of_token.position < coalesce(ruled.position_below, of_token.position + 1)
        and (ruled.n_before is null or ruled.is_excluded <> (after_token.token_index is not null))
),
fired as (
    select ruled.rule_id, activations.token_index, placed.document_number
    from activations
    join ruled using (feature)
    join placed using (token_index)
),
agreed as (
    select
        rule_id,
        document_number,
        fired.token_index is not null as fires,
        predicted.token_index is not null as says
    from fired
    full join predicted using (rule_id, token_index, document_number)
),
counted as (
    select
        agreed.rule_id,
        corpus_documents.role,
        corpus_documents.n_tokens,
        count(*) filter (agreed.fires) as n_fired,
        count(*) filter (agreed.says) as n_predicted,
        count(*) filter (agreed.fires and agreed.says) as n_right,
        n_predicted - n_right as n_wrong,
        n_fired + n_predicted as n_either,
        corpus_documents.n_tokens - n_fired as n_silent
    from agreed
    join corpus_documents using (document_number)
    group by agreed.rule_id, corpus_documents.role, corpus_documents.document_number, corpus_documents.n_tokens
)
select
    rule_id,
    role,
    count(*) filter (n_fired > 0) as n_fired_documents,
    count(*) filter (n_predicted > 0) as n_predicted_documents,
    count(*) as n_either_documents,
    sum(n_fired)::bigint as n_fired,
    sum(n_predicted)::bigint as n_predicted,
    sum(n_right)::bigint as n_right,
    sum(n_right * n_right)::bigint as right_right,
    sum(n_right * n_fired)::bigint as right_fired,
    sum(n_fired * n_fired)::bigint as fired_fired,
    sum(n_right * n_predicted)::bigint as right_predicted,
    sum(n_predicted * n_predicted)::bigint as predicted_predicted,
    sum(n_right * n_either)::bigint as right_either,
    sum(n_either * n_either)::bigint as either_either,
    sum(n_wrong * n_wrong)::bigint as wrong_wrong,
    sum(n_wrong * n_silent)::bigint as wrong_silent,
    sum(n_silent * n_silent)::bigint as silent_silent,
    sum(n_tokens * n_tokens)::bigint as tokens_tokens
from counted
group by rule_id, role
