-- One row per function that the select in $statement calls and whose result differs on every call.
select distinct function_name
from duckdb_functions()
where
    stability = 'VOLATILE'
    and list_contains(
        json_extract_string(json_serialize_sql($statement::varchar), '$..function_name'), function_name
    )
