-- One row per window of the features that have an explanation.
select examples.* exclude (places)
from examples
semi join exported_saes using (sae)
semi join chosen_explanations using (sae, feature)
order by examples.sae, examples.feature, examples.role, examples.kind, examples.draw
