-- One row per feature of SAE $sae from $first_feature to below $end_feature, with the columns of Neuronpedia's
-- table of features.
select
    unnest({
        'modelId': exported_saes.model_id,
        'layer': exported_saes.source_id,
        'index': feature_stats.feature::varchar,
        'sourceSetName': exported_saes.set_name,
        'creatorId': $neuronpedia_creator,
        'maxActApprox': coalesce(feature_stats.max_activation, 0),
        'frac_nonzero': feature_stats.density,
        'freq_hist_data_bar_heights': coalesce(feature_histograms.heights, []::bigint[]),
        'freq_hist_data_bar_values': coalesce(feature_histograms.bar_middles, []::double[]),
        'logits_hist_data_bar_heights': []::double[],
        'logits_hist_data_bar_values': []::double[],
        'pos_str': coalesce(
            list_transform(feature_logits.promoted, lambda token: replace(token.text, chr(0), ' ')), []::varchar[]
        ),
        'pos_values': coalesce(list_transform(feature_logits.promoted, lambda token: token.logit), []::double[]),
        'neg_str': coalesce(
            list_transform(feature_logits.suppressed, lambda token: replace(token.text, chr(0), ' ')),
            []::varchar[]
        ),
        'neg_values': coalesce(list_transform(feature_logits.suppressed, lambda token: token.logit), []::double[]),
        'topkCosSimIndices': coalesce(near.neighbours, []::int[]),
        'topkCosSimValues': coalesce(near.cosines, []::double[]),
        'hookName': exported_saes.hook_name
    })
from feature_stats
join exported_saes using (sae)
left join feature_histograms using (feature)
left join feature_logits using (sae, feature)
left join (
    select
        sae, feature, list(neighbour order by rank) as neighbours, list(cosine::double order by rank) as cosines
    from feature_neighbours
    where sae = $sae and feature >= $first_feature and feature < $end_feature
    group by sae, feature
) as near using (sae, feature)
where
    feature_stats.sae = $sae
    and feature_stats.feature >= $first_feature
    and feature_stats.feature < $end_feature
order by feature_stats.feature
