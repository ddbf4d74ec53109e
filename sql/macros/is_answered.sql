-- Whether a model answered a request, usably or not (none of `UNANSWERED` of pipeline/llm/requests.py).
create macro is_answered(status) as status not in ('http_error', 'too_long', 'budget')
