-- One row: a sum over groups of generated numbers, like the work that DuckDB does for features. Its duration shows
-- how fast this machine is compared with the one on which the pipeline was measured.
with grouped as (
    select number % 100003 as feature, count(*) as n, max(hash(number) % 65536) as largest
    from range(3000000) as numbers (number)
    group by feature
)
select sum(n * largest) as total
from grouped
