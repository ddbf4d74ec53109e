-- One row per text of the explanations that are shown: it may be that of several features.
select distinct explanation
from explanation_index
where is_shown
order by explanation
