-- One row per explainer whose explanations stand for features of the exported SAEs: the number of these features.
select chosen_explanations.explainer, count(*) as n_features
from chosen_explanations
semi join exported_saes using (sae)
group by chosen_explanations.explainer
order by n_features desc, chosen_explanations.explainer
