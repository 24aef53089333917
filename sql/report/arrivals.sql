-- What each arrival date brought first, by event date.
--
-- reads:      ods (one event with its session)
-- returns:    grain one arrival date and event date; key (arrival_date, event_date); in that order
-- parameters: $from, $to: first and last event date
select
    _updated_at as arrival_date,
    pdate as event_date,
    count(*) as events,
    count(*) filter (where is_user_action) as user_actions,
    count(*) filter (where session_start is null) as events_without_session
from ods
where pdate between $from and $to
group by
    _updated_at,
    pdate
order by
    _updated_at asc,
    pdate asc
