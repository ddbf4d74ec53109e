-- One row per explanation that its explainer did not choose: with scoring.all_draws it has scores as well.
select explanation_id
from explanations
where not is_chosen
