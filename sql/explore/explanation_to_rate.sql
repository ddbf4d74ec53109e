-- One row if the lake has the explanation $explanation_id, else none.
select distinct explanation_id
from explanation_index
where explanation_id = $explanation_id
