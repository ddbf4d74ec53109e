-- One row per explanation that its explainer did not choose. With scoring.all_draws these have scores, too.
select explanation_id
from explanations
where not is_chosen
