-- Events that belong to no session, by event date.
--
-- reads:      ods (one event)
-- returns:    grain one event date; key (pdate)
-- parameters: none
select
    pdate,
    count(*) as events,
    count(*) filter (where session_id is null) as without_session,
    round(100.0 * count(*) filter (where session_id is null) / count(*), 3) as percent
from ods
group by pdate
order by pdate
