-- One row if the lake has the explanation $explanation_id in words of the hash $explanation_sha256, else none.
select distinct explanation_id
from explanation_index
where explanation_id = $explanation_id and sha256(explanation) = $explanation_sha256
