-- One row per feature with an explanation of SAE $sae: its file in delphi's results, and its words as a JSON
-- string.
select
    format('explanations/{}_latent{}.txt', exported_saes.hookpoint, chosen_explanations.feature) as file,
    to_json(chosen_explanations.explanation)::varchar as text
from chosen_explanations
join exported_saes using (sae)
where chosen_explanations.sae = $sae
