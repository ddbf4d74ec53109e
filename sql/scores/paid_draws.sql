-- One row per request of the ledger: the first draw of what it asks, and what it took. Where an answer cannot be
-- used, the next draw is asked for, and the request that counts is one of several that were paid.
select
    request_id,
    coalesce(repeats, request_id) as first_id,
    cost_usd,
    prompt_tokens,
    cached_tokens,
    completion_tokens
from llm_requests
