-- One row per route: its number of features.
select route as figure, count(*) as value
from feature_routes
group by route
order by value desc
