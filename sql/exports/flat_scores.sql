-- One row per scorer and role of the explanations that stand for a feature.
select scores.*
from scores
semi join exported_saes using (sae)
semi join chosen_explanations using (explanation_id)
order by scores.sae, scores.feature, scores.scorer, scores.role
