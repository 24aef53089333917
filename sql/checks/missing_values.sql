-- severity: warn
-- on: raw
-- message: a value is missing or blank
-- reads: rows
-- returns: one row per row and column without a value
-- parameter: columns columns, which must hold a value in every row

select *
from (
    select
        *,
        unnest([$columns]) as missing_value
    from rows
) as checked
where missing_value is null or trim(missing_value) = ''
