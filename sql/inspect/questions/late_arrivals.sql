-- Events by how many days after they happened they came.
--
-- reads:      ods (one event)
-- returns:    grain one delay, arrival date minus event date in days; key (delay_days)
-- parameters: none
select
    delay_days,
    count(*) as events,
    round(100.0 * count(*) / sum(count(*)) over (), 3) as percent,
    count(distinct _updated_at) as arrival_dates,
    max(_updated_at) as last_arrival_date
from (
    select
        cast(_updated_at as int) - cast(pdate as int) as delay_days,
        _updated_at
    from ods
) as delays
group by delay_days
order by delay_days
