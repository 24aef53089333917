-- severity: warn
-- on: ods
-- message: an expected category does not occur
-- reads: rows
-- returns: one row per category without any row
-- parameter: column column, which holds the category
-- parameter: categories texts, each of which should occur

select category
from (
    select unnest([$categories]) as category
) as expected
left anti join rows
    on expected.category = rows.$column
