-- One row per pair of scorers: do they rank explanations alike?
with judged as (
    select explanation_id, scorer, coalesce(balanced_accuracy, auroc) as score
    from scores
    where role = 'test'
)
select
    judged.scorer,
    others.scorer as other_scorer,
    count(*) as n_explanations,
    round(corr(judged.score, others.score), 2) as correlation
from judged
join judged as others on others.explanation_id = judged.explanation_id and others.scorer > judged.scorer
where judged.score is not null and others.score is not null
group by judged.scorer, others.scorer
order by judged.scorer, others.scorer
