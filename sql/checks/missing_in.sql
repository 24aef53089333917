-- severity: warn
-- on: ods
-- message: a value does not occur in the other table
-- reads: rows, other
-- returns: one row per value of the column that the other table does not have
-- parameter: column column, whose values are looked for
-- parameter: other table, in which they are looked for
-- parameter: other_column column, where they stand there

select distinct rows.$column
from rows
left anti join other
    on rows.$column = other.$other_column
where rows.$column is not null
