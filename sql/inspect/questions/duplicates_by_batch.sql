-- Delivered rows that brought nothing new, by arrival date.
--
-- A row brings an event, or is in quarantine, or repeats an event that came with it or before.
-- An arrival date that is not built yet has brought no event so far.
--
-- reads:      raw (one delivered row), quarantine (one refused row), ods (one event)
-- returns:    grain one arrival date that raw still holds; key (arrival_date)
-- parameters: none
select
    raw_rows._updated_at as arrival_date,
    raw_rows.files,
    raw_rows.delivered,
    coalesce(refused.entries, 0) as quarantined,
    coalesce(brought.events, 0) as events_brought,
    raw_rows.delivered - coalesce(refused.entries, 0) - coalesce(brought.events, 0) as duplicates,
    round(
        100.0 * (raw_rows.delivered - coalesce(refused.entries, 0) - coalesce(brought.events, 0))
        / raw_rows.delivered,
        3
    ) as percent
from (
    select
        _updated_at,
        count(*) as delivered,
        count(distinct _file) as files
    from raw
    group by _updated_at
) as raw_rows
left join (
    select
        _updated_at,
        count(*) as entries
    from quarantine
    where stage = 'build'
    group by _updated_at
) as refused on raw_rows._updated_at = refused._updated_at
left join (
    select
        _updated_at,
        count(*) as events
    from ods
    group by _updated_at
) as brought on raw_rows._updated_at = brought._updated_at
order by arrival_date
