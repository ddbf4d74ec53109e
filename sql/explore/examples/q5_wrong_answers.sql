-- One row per scorer and kind of window: how often the scorer said that the feature fires, and how often it does.
select scorer, kind, examples.decile, count(*) as n, avg(prediction::int) as said_yes, avg(label::int) as fires
from predictions
join examples using (example_id)
where predictions.role = 'test'
group by scorer, kind, examples.decile
order by scorer, kind, examples.decile
