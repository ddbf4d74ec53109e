-- One row per window whose activations were simulated, and stratum that it is in: the sums over its tokens, of the
-- predicted x and the true y, both from 0 to 10.
-- y = round(10 a / the feature's largest train activation), at most 10. stratum: `all`; `top`, the n_top strongest
-- test windows; `random`, those by draw over the deciles and the silent ones. A window without a usable answer, or
-- of a feature that fires in no train document, has no sums.
with windows as (
    select
        examples.example_id,
        examples.doc_id,
        examples.kind = 'activating' and row_number() over by_strength <= $scoring_simulation_n_top as is_top,
        examples.draw <= $scoring_simulation_n_drawn as is_drawn,
        if(
            feature_stats.max_activation_train > 0,
            list_transform(
                examples.activations, lambda a: least(10, round(10 * a / feature_stats.max_activation_train))
            ),
            null
        ) as truths
    from examples
    join feature_stats using (sae, feature)
    where examples.role = 'test'
    window
        by_strength as (
            partition by examples.sae, examples.feature, examples.kind = 'activating'
            order by examples.rank, examples.example_id
        )
),
asked as (
    select
        predictions.explanation_id,
        predictions.scorer,
        predictions.role,
        predictions.question_id,
        windows.doc_id as document,
        coalesce(predictions.status = 'ok' and len(predictions.values) = len(windows.truths), false) as is_scored,
        if(is_scored, predictions.values, []) as xs,
        if(is_scored, windows.truths, []) as ys,
        list_filter(
            ['all', if(windows.is_top, 'top', null), if(windows.is_drawn, 'random', null)],
            lambda name: name is not null
        ) as strata
    from predictions
    join windows using (example_id)
    where split_part(predictions.scorer, '@', 1) = 'simulation'
)
select
    explanation_id,
    scorer,
    role,
    unnest(strata) as stratum,
    question_id,
    document,
    is_scored,
    len(xs)::double as n,
    list_sum(xs)::double as x,
    list_sum(ys)::double as y,
    list_dot_product(xs::double[], xs::double[]) as xx,
    list_dot_product(ys::double[], ys::double[]) as yy,
    list_dot_product(xs::double[], ys::double[]) as xy,
    len(list_filter(ys, lambda v: v > 0)) as n_firing
from asked
