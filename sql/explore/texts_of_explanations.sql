-- One row per text of the explanations that are shown. Several features may share a text.
select distinct explanation
from explanation_index
where is_shown
order by explanation
