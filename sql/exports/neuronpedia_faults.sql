-- One row per rule of Neuronpedia's that a written file breaks: where, and what is wrong there.
-- The tables written_* are the files as written.
select
    format('feature {} of {}', index, layer) as location,
    'a model or source that is not of letters, digits, - and _ (a model also of .)' as fault
from written_features
where not (
        regexp_full_match(modelid, '[a-zA-Z0-9._-]{1,128}') and regexp_full_match(layer, '[0-9]+-[a-zA-Z0-9_-]+')
    )
union all
select format('feature {} of {}', index, layer), 'lists of tokens and of their values that differ in length'
from written_features
where
    len(pos_str) <> len(pos_values)
    or len(neg_str) <> len(neg_values)
    or len(freq_hist_data_bar_heights) <> len(freq_hist_data_bar_values)
    or len(topkcossimindices) <> len(topkcossimvalues)
union all
select format('feature {} of {}', any_value(index), any_value(layer)), 'more than one row of a feature'
from written_features
group by modelid, layer, index
having count(*) > 1
union all
select
    format('window {} of feature {}', id, index),
    'as many values as tokens, the largest at its place, within its bin'
from written_activations
where
    len(tokens) <> len(values)
    or list_max(values) <> maxvalue
    or values[maxvaluetokenindex + 1] <> maxvalue
    or maxvalue > binmax * (1 + 1e-6)
    or maxvalue < binmin * (1 - 1e-6)
union all
select format('window {} of feature {}', id, index), 'a window of no feature that is there'
from written_activations
anti join written_features using (modelid, layer, index)
union all
select format('the explanation of feature {}', index), 'no words, or an explanation of no feature that is there'
from written_explanations
left join written_features using (modelid, layer, index)
where written_features.index is null or trim(coalesce(description, '')) = ''
union all
select format('the batch of {} from feature {}', source, features[1].index), 'more than 128 features in a batch'
from written_uploads
where len(features) > 128
union all
select
    format('feature {} to upload', uploaded.index),
    'no window, an explanation over 512 characters, or more than 20 tokens of an end'
from (select unnest(features) as uploaded from written_uploads)
where
    len(uploaded.activations) = 0
    or list_max(list_transform(uploaded.explanations, lambda each: len(each.text))) > 512
    or len(uploaded.toplogits) > 20
    or len(uploaded.bottomlogits) > 20
