-- One row per question that scorer $scorer may ask (`own_questions`: the rows that it gives), numbered among the
-- questions of the same answer: in the order in which windows were drawn, distinct documents first, deciles and
-- silent strata in turn.
select
    * exclude (draw),
    $scorer as scorer,
    row_number() over (partition by explanation_id, label order by draw, question_id) as number
from own_questions
