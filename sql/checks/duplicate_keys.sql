-- severity: warn
-- on: raw
-- message: several rows have the same key
-- reads: rows
-- returns: one row per repeated key, with the number of its rows
-- parameter: key columns, which together should be unique

select
    $key,
    count(*) as number_of_rows
from rows
group by $key
having count(*) > 1
