-- How many events each arrival date brought, and how many of them were late.
--
-- reads:      ods (one distinct event)
-- returns:    grain one arrival date; key (_updated_at); late: of an earlier event date
-- parameters: $from_pdate, date: events before it are left out; $first and $last, date: the
--             arrival dates, both included
select
    _updated_at,
    count(*) as events,
    count(case when pdate < _updated_at then 1 end) as late
from ods
where pdate >= $from_pdate
    and _updated_at between $first and $last
group by _updated_at
order by _updated_at
