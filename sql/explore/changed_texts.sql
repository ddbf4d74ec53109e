-- One row per way in which feature $feature of SAE $sae was changed, first raised, from least to most, and then
-- ablated: the first $of_a_way texts that the subject model wrote with it, beside what it writes unchanged.
with firsts as (
    select *
    from steered_texts
    where sae = $sae and feature = $feature and status = 'ok'
    qualify row_number() over (partition by mode, target_kl order by prompt_id) <= $of_a_way
)
select
    mode,
    target_kl,
    any_value(strength) as strength,
    list({'prompt': prompt, 'unsteered': unsteered, 'continuation': continuation} order by prompt_id) as texts
from firsts
group by mode, target_kl
order by mode desc, target_kl
