-- One row per explanation, scorer and weighting whose windows were graded (by grade_scorers): how well the
-- feature's activations separate windows of grade 2 from windows of grade 0 (FADE, Puri et al. 2025). Windows of
-- grade 1 are left out.
-- weighting: `sample`, where each window weighs 1; `population`, where it weighs as many slots as it stands for
-- (`question_weights`).
-- A window's activation a is its peak, 0 where it is silent. auroc (responsiveness): the probability that a window
-- of grade 2 has a larger activation than a window of grade 0, ties one half. average_precision (purity): over the
-- thresholds of a, from above, the sum of (gain in the weight of grade 2) x (share of grade 2 above).
-- The sample's variance is DeLong's, the sum over both grades of S / n with S the variance of a window's placement
-- among those of the other grade (placement_variance), n by the design effect (rate_intervals). The population has
-- no such variance, as one silent window can weigh more than all that fire: its interval is Wilson's with the
-- smaller of Kish's effective n, (sum w)^2 / sum w^2, of the two grades. Its figures are null where that interval
-- is wider than max_interval.
with asked as (
    select
        predictions.explanation_id,
        predictions.scorer,
        predictions.question_id,
        examples.doc_id as document,
        coalesce(examples.peak, 0)::double as activation,
        predictions.values[1] as grade,
        coalesce(predictions.status = 'ok' and grade is not null, false) as is_scored,
        question_weights.weight,
        coalesce(scorer_rhos.rho, $scoring_rho::double) as rho
    from predictions
    join examples using (example_id)
    left join question_weights using (explanation_id, scorer, question_id)
    left join scorer_rhos on scorer_rhos.sae = examples.sae and scorer_rhos.scorer = predictions.scorer
    where list_contains($scoring_grade_scorers::text[], predictions.scorer)
),
grades as (
    select
        explanation_id,
        scorer,
        question_id,
        rho,
        count(*) over (partition by explanation_id, scorer, grade, document) as n_of_document,
        activation,
        grade = 2 as fits,
        unnest([
            {'weighting': 'sample', 'weight': 1::double}, {'weighting': 'population', 'weight': weight}
        ], recursive := true)
    from asked
    where is_scored and grade <> 1
),
placed as (
    -- The weighted share of the other grade's windows against which a window is in the right order, ties one half.
    select
        grades.explanation_id,
        grades.scorer,
        grades.weighting,
        grades.question_id,
        grades.fits,
        any_value(grades.rho) as rho,
        any_value(grades.n_of_document) as n_of_document,
        any_value(grades.weight) as weight,
        exact_sum(
            others.weight * case
                when others.activation = grades.activation then 0.5
                else ((grades.activation > others.activation) = grades.fits)::int
            end
        ) / exact_sum(others.weight) as placement
    from grades
    join grades as others
        on others.explanation_id = grades.explanation_id
        and others.scorer = grades.scorer
        and others.weighting = grades.weighting
        and others.fits <> grades.fits
    group by
        grades.explanation_id, grades.scorer, grades.weighting, grades.question_id, grades.fits
),
by_grade as (
    select
        explanation_id,
        scorer,
        weighting,
        fits,
        exact_sum(weight) as total,
        exact_sum(weight * weight) as squares,
        clamp(exact_sum(weight * placement) / total, 0, 1) as auroc,
        count(*) as n,
        -- Of a sample, in which every weight is 1.
        greatest(0, exact_sum(placement * placement) - n * auroc * auroc) / (n - 1) as spread,
        design_effect(sum(n_of_document) / count(*), any_value(rho)) as design_effect,
        total * total / squares / design_effect as n_effective
    from placed
    group by explanation_id, scorer, weighting, fits
),
paired as (
    select
        explanation_id,
        scorer,
        weighting,
        any_value(auroc) filter (fits) as auroc,
        -- A population has no variance, nor do grades whose windows are placed alike, or one with a single window.
        if(
            weighting = 'sample' and min(n) > 1 and sum(spread) > 1e-12,
            sum(placement_variance(auroc, fits, spread, n) / n_effective),
            null
        ) as variance,
        min(n_effective) as n_least
    from by_grade
    group by explanation_id, scorer, weighting
),
measured as (
    select
        *,
        auroc_low(auroc, variance, n_least, $scoring_z::double) as auroc_low,
        auroc_high(auroc, variance, n_least, $scoring_z::double) as auroc_high,
        weighting = 'population' and auroc_high - auroc_low > $scoring_max_interval::double as is_wide
    from paired
),
levels as (
    select
        explanation_id,
        scorer,
        weighting,
        activation,
        coalesce(exact_sum(if(fits, weight, null)), 0) as gain,
        exact_sum(weight) as weight
    from grades
    group by explanation_id, scorer, weighting, activation
),
thresholds as (
    select
        *,
        sum(gain) over from_above as gained,
        sum(weight) over from_above as above,
        sum(gain) over (partition by explanation_id, scorer, weighting) as total
    from levels
    window from_above as (partition by explanation_id, scorer, weighting order by activation desc)
),
precisions as (
    select
        explanation_id,
        scorer,
        weighting,
        exact_sum(gain / total * gained / above) as average_precision
    from thresholds
    where total > 0
    group by explanation_id, scorer, weighting
),
counted as (
    select
        explanation_id,
        scorer,
        count(*) filter (is_scored) as n_scored,
        count(*) filter (not is_scored) as n_unscored,
        n_scored / count(*) as coverage,
        coverage >= $scoring_min_coverage::double as is_covered,
        count(*) filter (is_scored and grade = 2) as n_fitting,
        count(*) filter (is_scored and grade = 0) as n_unfitting,
        unnest(['sample', 'population']) as weighting
    from asked
    group by explanation_id, scorer
)
select
    counted.explanation_id,
    explanations.sae,
    explanations.feature,
    explanations.explainer,
    counted.scorer,
    counted.weighting,
    counted.n_scored,
    counted.n_unscored,
    counted.coverage,
    if(is_covered and not is_wide, measured.auroc, null) as auroc,
    if(is_covered and not is_wide, measured.auroc_low, null) as auroc_low,
    if(is_covered and not is_wide, measured.auroc_high, null) as auroc_high,
    if(is_covered and not is_wide and n_unfitting > 0, precisions.average_precision, null) as average_precision,
    case
        when not is_covered then coverage_reason(n_scored, n_unscored, $scoring_min_coverage::double)
        when n_fitting = 0 then 'no window was graded 2'
        when n_unfitting = 0 then 'no window was graded 0'
        else 'it grades windows: auroc is responsiveness, average_precision purity'
    end as reason
from counted
join explanations using (explanation_id)
left join measured using (explanation_id, scorer, weighting)
left join precisions using (explanation_id, scorer, weighting)
