-- One row per feature of SAE $sae from $first_feature to below $end_feature that has windows: its file in the
-- folder $folder, numbered by the Cantor pairing of layer $layer and feature, and the file's text as
-- circuit-tracer reads it.
with grouped as (
    select
        feature,
        if(rank <= 20, 0, 11 - decile) as number,
        if(rank <= 20, 'Strongest', format('Decile {}', decile)) as quantile_name,
        list(
            {
                'tokens_acts_list': activations,
                'train_token_ind': strongest,
                'is_repeated_datapoint': false,
                'tokens': texts
            }
            order by rank
        ) as examples
    from exported_windows
    where kind = 'activating'
    group by feature, number, quantile_name
),
quantiles as (
    select
        feature, list({'quantile_name': quantile_name, 'examples': examples} order by number) as examples_quantiles
    from grouped
    group by feature
)
select
    format(
        '{}/{}.json',
        $folder,
        ($layer::bigint + quantiles.feature) * ($layer::bigint + quantiles.feature + 1) // 2 + quantiles.feature
    ) as file,
    to_json(
        {
            'transcoder_id': $sae,
            'index': quantiles.feature,
            'examples_quantiles': quantiles.examples_quantiles,
            'top_logits': coalesce(
                list_transform(feature_logits.promoted, lambda token: token.text), []::varchar[]
            ),
            'bottom_logits': coalesce(
                list_transform(feature_logits.suppressed, lambda token: token.text), []::varchar[]
            ),
            'act_min': 0,
            'act_max': feature_stats.max_activation,
            'quantile_values': feature_stats.activation_deciles,
            'histogram': feature_histograms.heights,
            'activation_frequency': feature_stats.density
        }
    )::varchar as text
from quantiles
join feature_histograms using (feature)
join feature_stats on feature_stats.sae = $sae and feature_stats.feature = quantiles.feature
left join feature_logits on feature_logits.sae = $sae and feature_logits.feature = quantiles.feature
