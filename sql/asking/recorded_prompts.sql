-- One row per recorded prompt of model $model that its server has counted the tokens of; 200 at most, by
-- their hash.
select messages, prompt_tokens
from llm_requests
where model = $model and prompt_tokens > 0
order by request_id
limit 200
