-- One row per feature of the exported SAEs with an explanation: the label of its nodes in an attribution graph.
select exported_saes.layer, chosen_explanations.feature, chosen_explanations.explanation
from chosen_explanations
join exported_saes using (sae)
