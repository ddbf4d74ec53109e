-- One row per feature, kind, size limit and target: the rule of that kind with the best F1 on train documents.
-- For kinds that look through a window, hits and tokens are first counted per earlier token; where two of these
-- occur in one window they count twice, hits and false alarms alike. The rules whose F1 by these counts is above
-- that of the feature's other rules are counted exactly (window_counts); the others are dropped.
with kinds as (
    select
        *,
        case
            when position_below is not null then 'position'
            when n_before is null and token_class is not null then 'class'
            when n_before is null then 'token'
            when is_excluded then 'token_not_after'
            else
                if(token_set is not null, 'token_and_', '') || if(token_class is not null, 'class_and_', '')
                || if(n_before = 1, 'previous', 'window')
        end as kind,
        2 * n_hits / (n_tokens + n_targets) as f1
    from rule_sets
),
worth as (
    select *
    from kinds
    qualify coalesce(n_before, 1) = 1 or f1 > coalesce(max(f1) filter (
            target = 'any' and coalesce(n_before, 1) = 1 and max_tokens <= $rules_chosen_max_tokens
        ) over (partition by feature), 0)
),
best as (
    select *
    from worth
    qualify row_number() over (
            partition by feature, kind, max_tokens, target
            order by f1 desc, n_before, token_set, token_class, position_below
        ) = 1
)
select
    row_number() over (order by best.feature, best.kind, best.max_tokens, best.target) as rule_id,
    best.feature,
    best.kind,
    best.max_tokens,
    best.target,
    case
        when best.kind = 'token' then best.token_ids
        when best.token_set = 1 then rule_bases.near_token_ids
        when best.token_set = 2 then rule_bases.wide_token_ids
    end as token_ids,
    best.token_class,
    if(best.n_before is null, null, best.token_ids) as previous_token_ids,
    null::varchar as previous_class,
    best.n_before,
    best.is_excluded,
    best.position_below,
    best.n_hits,
    best.n_tokens,
    best.n_targets
from best
left join rule_bases on rule_bases.feature = best.feature and best.token_set is not null
