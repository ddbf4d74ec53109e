-- Whether no answer to a request came, so that the next run asks again (`FAILED` of pipeline/llm/requests.py).
create macro is_failed(status) as status in ('http_error', 'budget')
