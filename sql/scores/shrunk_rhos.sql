-- One row per scorer of `pilot_scorers`: the rho found in the pilot's answers, and the rho that widens every
-- interval of the scorer and ends its scoring.
-- The difference d between the rho found and the config's rho is shrunk by its own uncertainty s, the empirical
-- Bayes estimate with the prior variance d^2 - s^2 (James and Stein 1961, positive part): rho + d max(0, 1 - s^2 /
-- d^2). The result is never below the config's rho. Where the pilot's answers do not suffice, it is the config's,
-- with the reason.
with failures as (
    select scorer, count(*) as n_failed
    from predictions
    where is_failed(status)
    group by scorer
),
explaining_failures as (
    select count(*) as n_failed from explanations where is_failed(status)
),
measured as (
    select
        pilot_scorers.scorer,
        pilot_scorers.model,
        pilot_scorers.form,
        coalesce(answer_correlations.n_features, 0) as n_features,
        coalesce(answer_correlations.n_explanations, 0) as n_explanations,
        coalesce(answer_correlations.n_questions, 0) as n_questions,
        coalesce(answer_correlations.n_repeated, 0) as n_repeated,
        coalesce(failures.n_failed, 0) + explaining_failures.n_failed as n_failed,
        control_thresholds.n_control_answers,
        control_thresholds.n_control_failed,
        control_thresholds.threshold,
        control_thresholds.threshold_reason,
        answer_correlations.rho as rho_found,
        answer_correlations.standard_error,
        $scoring_rho::double as config_rho,
        answer_correlations.rho - config_rho as difference
    from pilot_scorers
    cross join explaining_failures
    left join control_thresholds using (scorer)
    left join failures using (scorer)
    left join answer_correlations using (scorer)
),
reasoned as (
    select
        *,
        if(n_failed > 0, format('; {} requests failed', n_failed), '') as and_failed,
        case
            when $scoring_pilot_features = 0 then 'scoring.pilot_features is 0'
            when list_contains($scoring_activation_scorers::text[], scorer)
            then 'its intervals are over documents, without a rho'
            when n_explanations < $least_explanations::int then format(
                '{} of the {} explanations that it takes were judged{}', n_explanations, $least_explanations::int,
                and_failed
            )
            when n_features < $least_features::int then format(
                '{} of the {} features that it takes were judged{}', n_features, $least_features::int, and_failed
            )
            when n_repeated = 0 then 'no document was asked about twice'
            when rho_found is null or standard_error is null then 'all answers are alike'
        end as why_config,
        difference * (1 - power(standard_error / difference, 2)) as shrunk
    from measured
)
select
    $sae as sae,
    scorer,
    model,
    n_features,
    n_explanations,
    n_questions,
    n_repeated,
    n_failed,
    rho_found,
    standard_error,
    if(why_config is null and difference > standard_error, least(1, config_rho + shrunk), config_rho) as rho,
    coalesce(
        why_config,
        if(difference > standard_error, null, 'no more than the config''s was found, within its standard error')
    ) as reason,
    threshold,
    n_control_answers,
    n_control_failed,
    threshold_reason,
    form
from reasoned
order by scorer
