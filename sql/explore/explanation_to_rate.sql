-- One row if the lake has explanation $explanation_id with words of hash $explanation_sha256, else none.
select distinct explanation_id
from explanation_index
where explanation_id = $explanation_id and sha256(explanation) = $explanation_sha256
