-- One row per window in which a feature of SAE $sae from $first_feature to below $end_feature fires, with the
-- columns of Neuronpedia's table of activations. The strongest windows form a group of their own (bounds -1), the
-- others are grouped by tenths of the firings.
select
    unnest({
        'id': 'c' || left(md5(exported_saes.source_id || neuronpedia_windows.example_id), 24),
        'modelId': exported_saes.model_id,
        'layer': exported_saes.source_id,
        'index': neuronpedia_windows.feature::varchar,
        'creatorId': $neuronpedia_creator,
        'tokens': neuronpedia_windows.texts,
        'values': neuronpedia_windows.activations,
        'maxValue': neuronpedia_windows.peak,
        'minValue': list_min(neuronpedia_windows.activations),
        'maxValueTokenIndex': neuronpedia_windows.strongest,
        'binMin': if(neuronpedia_windows.is_top, -1, neuronpedia_windows.low),
        'binMax': if(neuronpedia_windows.is_top, neuronpedia_windows.max_activation, neuronpedia_windows.high),
        'binContains': if(neuronpedia_windows.is_top, -1, 0.1)::double,
        'dataSource': null::varchar
    })
from neuronpedia_windows
join exported_saes on exported_saes.sae = $sae
order by neuronpedia_windows.feature, neuronpedia_windows.rank
