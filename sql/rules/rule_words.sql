-- One row per mined rule: its text, as pipeline/rules/grammar.py parses it.
-- A token is in single quotes, a quote inside it doubled, and characters that are not plain escaped as in JSON. A
-- token whose text is shared by other tokens is named by its id.
with quoted as (
    select
        token_id,
        if(
            count(*) over (partition by text) = 1,
            '''' || replace(replace((to_json(text)::varchar)[2:-2], '\"', '"'), '''', '''''') || '''',
            '#' || token_id
        ) as quoted
    from tokens
),
named as (
    select rule_id, 'token' as clause, unnest(token_ids) as token_id, generate_subscripts(token_ids, 1) as number
    from mined_rules
    union all by name
    select
        rule_id,
        'before' as clause,
        unnest(previous_token_ids) as token_id,
        generate_subscripts(previous_token_ids, 1) as number
    from mined_rules
),
listed as (
    select rule_id, clause, list(quoted order by number) as words
    from named
    join quoted using (token_id)
    group by rule_id, clause
),
sets as (
    select
        rule_id,
        clause,
        array_to_string(words[:-2], ', ') || if(len(words) > 1, ' or ', '') || words[-1] as words
    from listed
)
select
    mined_rules.rule_id,
    concat_ws(
        ' and ',
        'the token is ' || coalesce(token_class, token_sets.words),
        if(
            n_before = 1,
            'the previous token is ' || if(is_excluded, 'not ', ''),
            if(is_excluded, 'none', 'one') || ' of the ' || n_before || ' tokens before is '
        )
        || coalesce(previous_class, before_sets.words),
        'the position is below ' || position_below
    ) as rule
from mined_rules
left join sets as token_sets on token_sets.rule_id = mined_rules.rule_id and token_sets.clause = 'token'
left join sets as before_sets on before_sets.rule_id = mined_rules.rule_id and before_sets.clause = 'before'
