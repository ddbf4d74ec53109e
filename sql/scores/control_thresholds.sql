-- One row per scorer of `pilot_scorers`: the probability from which its answer counts as yes, where it asks yes/no
-- questions.
-- With scoring.threshold `controls` this is the probability that one in ten of its answers about controls reaches
-- (`control_answers`: another feature's explanation, and a train window in which that feature does not fire), and
-- at least one half. Where it is one half, threshold_reason gives the reason, and what to change where too few
-- answers came.
with answered as (
    select
        scorer,
        count(probability) as n_control_answers,
        count(*) as n_asked,
        count(*) filter (is_failed(status)) as n_control_failed,
        quantile_cont(probability, 0.9) as found
    from control_answers
    group by scorer
),
counted as (
    select
        pilot_scorers.scorer,
        pilot_scorers.is_yes_no,
        coalesce(answered.n_control_answers, 0) as n_control_answers,
        coalesce(answered.n_control_failed, 0) as n_control_failed,
        coalesce(answered.n_asked, 0) as n_asked,
        answered.found
    from pilot_scorers
    left join answered using (scorer)
),
reasoned as (
    select
        *,
        case
            when not is_yes_no then null
            when $scoring_threshold = 'half' then 'scoring.threshold is half'
            when $scoring_pilot_features = 0 then 'scoring.pilot_features is 0'
            when n_control_answers < $least_answers::int then format(
                '{} of the {} answers about controls that it takes came with a probability{}',
                n_control_answers,
                $least_answers::int,
                case
                    when n_control_failed > 0 then format('; {} questions failed', n_control_failed)
                    when n_asked < $least_answers::int then format(
                        '; {} could be asked: raise scoring.pilot_features or explaining.n_examples', n_asked
                    )
                    else '; does the model''s server give log-probabilities?'
                end
            )
            when found <= 0.5 then 'under one in ten of its answers about controls is a yes'
        end as threshold_reason
    from counted
)
select
    scorer,
    n_control_answers,
    n_control_failed,
    if(is_yes_no, if(threshold_reason is null, found, 0.5), null) as threshold,
    threshold_reason
from reasoned
order by scorer
