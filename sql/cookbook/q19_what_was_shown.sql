-- One row per explained feature: what did the explaining model see, and what did it answer?
select
    explanations.sae,
    explanations.feature,
    explanations.status,
    llm_requests.messages[-1].content as last_message,
    llm_requests.response
from explanations
join llm_requests using (request_id)
order by explanations.sae, explanations.feature
