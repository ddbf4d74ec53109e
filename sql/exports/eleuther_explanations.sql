-- One row: the explanations of SAE $sae as one JSON object, by feature.
select
    $sae || '.json' as file,
    coalesce(
        to_json(map(list(feature::varchar order by feature), list(explanation order by feature))), '{}'
    )::varchar as text
from chosen_explanations
where sae = $sae
