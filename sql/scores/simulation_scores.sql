-- One row per explanation, scorer and stratum of simulated windows: how well the predicted activations x of all
-- their tokens match the true ones y, both from 0 to 10.
-- correlation: Pearson's, over the tokens of all windows together (Bills et al. 2023). It is null where y does not
-- vary, and 0 where x does not: one value for all tokens explains nothing. explained: 1 - mean (y - x)^2 / mean
-- y^2; explained_calibrated: the same with a + b x for x, fitted by least squares on the other windows.
-- The interval is by jackknife over documents, on Fisher's scale z = atanh r. A sample without a miss shows no
-- variance, so one firing token of typical strength that was not predicted is added, as a document of its own. The
-- standard error of z is at least 0.6 / sqrt(documents), and its quantile is widened to that of Student's t by the
-- ratio of their standard deviations, sqrt(df / (df - 2)). Tried without these, at 15 windows and 95 %: the plain
-- jackknife covers 86 %, and 24 % at a correlation of 0.98; this covers 97 %, and at least 92 %.
with by_document as (
    select
        explanation_id,
        scorer,
        stratum,
        document,
        exact_sum(n) as n,
        exact_sum(x) as x,
        exact_sum(y) as y,
        exact_sum(xx) as xx,
        exact_sum(yy) as yy,
        exact_sum(xy) as xy,
        sum(n_firing)::bigint as n_firing
    from simulated_windows
    where is_scored
    group by explanation_id, scorer, stratum, document
),
totals as (
    select
        explanation_id,
        scorer,
        stratum,
        count(*) as n_documents,
        exact_sum(n) as n,
        exact_sum(x) as x,
        exact_sum(y) as y,
        exact_sum(xx) as xx,
        exact_sum(yy) as yy,
        exact_sum(xy) as xy,
        sqrt(exact_sum(yy) / nullif(sum(n_firing), 0)) as missed
    from by_document
    group by explanation_id, scorer, stratum
),
left_out as (
    -- The sums as they are (`raw`); with the missed token (`all`); and with it, but without one document or
    -- without that token (`without`).
    select totals.*, 'raw' as kind from totals
    union all by name
    select * replace (n + 1 as n, y + missed as y, yy + missed * missed as yy), 'all' as kind from totals
    union all by name
    select totals.*, 'without' as kind from totals
    union all by name
    select
        totals.* replace (
            totals.n + 1 - by_document.n as n,
            totals.x - by_document.x as x,
            totals.y + missed - by_document.y as y,
            totals.xx - by_document.xx as xx,
            totals.yy + missed * missed - by_document.yy as yy,
            totals.xy - by_document.xy as xy
        ),
        'without' as kind
    from totals
    join by_document using (explanation_id, scorer, stratum)
),
correlated as (
    -- Spreads are n times the sums of squares about the mean, and r is their quotient with n sum xy - sum x sum y.
    select
        *,
        n * xx - x * x as spread_x,
        n * yy - y * y as spread_y,
        case
            when spread_y < 1e-6 then null
            when spread_x < 1e-6 then 0
            else clamp((n * xy - x * y) / sqrt(spread_x * spread_y), -1, 1)
        end as r
    from left_out
),
jackknifed as (
    -- Over the k = documents + 1 correlations r_i without one: the variance is (k - 1) / k sum (r_i - mean r_i)^2.
    select
        explanation_id,
        scorer,
        stratum,
        any_value(n_documents) as n_documents,
        any_value(n) filter (kind = 'raw')::bigint as n,
        any_value(r) filter (kind = 'raw') as correlation,
        coalesce(any_value(spread_x) filter (kind = 'raw') < 1e-6, false) as is_constant,
        clamp(any_value(r) filter (kind = 'all'), -0.999, 0.999) as centre,
        count(r) filter (kind = 'without') as k,
        exact_sum(if(kind = 'without', r * r, null)) as squares,
        exact_sum(if(kind = 'without', r, null)) as sums,
        (k - 1) / k * greatest(0, squares - sums * sums / k) as variance
    from correlated
    group by explanation_id, scorer, stratum
),
bounded as (
    -- By the delta method, the standard error of atanh r is that of r over 1 - r^2.
    select
        *,
        greatest(sqrt(variance) / (1 - centre * centre), 0.6 / sqrt(n_documents)) as error,
        $scoring_z::double * sqrt((n_documents - 1) / (n_documents - 3)) * error as half,
        n_documents > 3 and k = n_documents + 1 and not is_constant as has_interval
    from jackknifed
),
fitted as (
    -- a and b are fitted on all windows of the stratum except one; squares: the squared errors on that one,
    -- sum (y - a - b x)^2, multiplied out, so that the window's sums suffice.
    select
        simulated_windows.explanation_id,
        simulated_windows.scorer,
        simulated_windows.stratum,
        totals.n - simulated_windows.n as other_n,
        totals.x - simulated_windows.x as other_x,
        totals.y - simulated_windows.y as other_y,
        other_n * (totals.xx - simulated_windows.xx) - other_x * other_x as spread,
        other_n * (totals.xy - simulated_windows.xy) - other_x * other_y as joint_spread,
        if(spread < 1e-6, 0, joint_spread / spread) as b,
        (other_y - b * other_x) / other_n as a,
        simulated_windows.yy - 2 * a * simulated_windows.y - 2 * b * simulated_windows.xy
        + a * a * simulated_windows.n + 2 * a * b * simulated_windows.x + b * b * simulated_windows.xx as squares
    from simulated_windows
    join totals using (explanation_id, scorer, stratum)
    where simulated_windows.is_scored and totals.n > simulated_windows.n
),
calibrated as (
    select explanation_id, scorer, stratum, exact_sum(squares) as squares
    from fitted
    group by explanation_id, scorer, stratum
),
counted as (
    select
        explanation_id,
        scorer,
        stratum,
        count(*) filter (is_scored) as n_scored,
        count(*) filter (not is_scored) as n_unscored,
        n_scored / count(*) as coverage,
        coverage >= $scoring_min_coverage::double as is_covered
    from simulated_windows
    group by explanation_id, scorer, stratum
)
select
    counted.explanation_id,
    explanations.sae,
    explanations.feature,
    explanations.explainer,
    counted.scorer,
    counted.stratum,
    counted.n_scored,
    counted.n_unscored,
    counted.coverage,
    coalesce(bounded.n, 0) as n_tokens,
    if(is_covered, bounded.correlation, null) as correlation,
    if(is_covered and has_interval, fisher_low(centre, half), null) as correlation_low,
    if(is_covered and has_interval, fisher_high(centre, half), null) as correlation_high,
    if(is_covered and totals.yy > 0, 1 - (totals.yy - 2 * totals.xy + totals.xx) / totals.yy, null) as explained,
    if(is_covered and totals.yy > 0, 1 - calibrated.squares / totals.yy, null) as explained_calibrated,
    case
        when not is_covered then coverage_reason(n_scored, n_unscored, $scoring_min_coverage::double)
        when bounded.correlation is null then 'the true activations do not vary'
        when is_constant then 'every token is predicted alike: the correlation counts as 0'
    end as reason
from counted
join explanations using (explanation_id)
left join totals using (explanation_id, scorer, stratum)
left join bounded using (explanation_id, scorer, stratum)
left join calibrated using (explanation_id, scorer, stratum)
