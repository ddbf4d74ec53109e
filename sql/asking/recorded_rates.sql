-- One row per purpose for which model $model has answered: means over its last 1,000 answers; durations only of
-- requests sent on their own.
with answers as (
    select *
    from llm_requests
    where model = $model and is_answered(status)
    qualify row_number() over (partition by purpose order by requested_at desc) <= 1000
)
select
    purpose,
    avg(completion_tokens) as completion_tokens,
    coalesce(sum(cached_tokens) / sum(prompt_tokens), 0) as cached_share,
    avg(duration_ms) filter (where batch_id is null) as duration_ms
from answers
group by purpose
order by purpose
