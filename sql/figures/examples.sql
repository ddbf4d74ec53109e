-- One row per figure of examples: the windows of the batch that yes/no questions are first asked about, by kind,
-- and what their length gives away. length_auroc: the AUROC of length alone, longer ones first, as the mean over
-- features; 0.5 gives nothing away.
with asked as (
    select feature, kind, kind = 'activating' as label, len(token_ids) as n_tokens
    from examples
    where role = 'test' and draw <= $scoring_n_questions
),
levels as (
    select
        feature,
        n_tokens,
        count(*) filter (label) as n_positive,
        count(*) filter (not label) as n_negative
    from asked
    group by feature, n_tokens
),
placed as (
    -- twice_under: twice the placement of a positive, the negatives that are shorter and half of those as long.
    select
        *,
        2 * sum(n_negative) over (partition by feature order by n_tokens) - n_negative as twice_under
    from levels
),
areas as (
    select feature, sum(n_positive * twice_under) / (2 * sum(n_positive) * sum(n_negative)) as auroc
    from placed
    group by feature
    having sum(n_positive) > 0 and sum(n_negative) > 0
)
select 'questions_' || kind as figure, count(*)::double as value
from asked
group by kind
union all
select 'length_auroc', exact_mean(auroc)
from areas
having count(*) > 0
order by figure
