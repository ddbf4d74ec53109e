-- One row per recorded prompt of model $model whose tokens the server has counted; at most 200, by their hash.
select messages, prompt_tokens
from llm_requests
where model = $model and prompt_tokens > 0
order by request_id
limit 200
