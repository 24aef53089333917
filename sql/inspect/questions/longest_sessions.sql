-- The twenty longest sessions.
--
-- reads:      ods (one event)
-- returns:    grain one session; key (session_id); longest first
-- parameters: none
select
    session_id,
    min(user_id) as user_id,
    min(product_code) as product_code,
    min(timestamp) as session_start,
    max(timestamp) as session_end,
    (cast(max(timestamp) as bigint) - cast(min(timestamp) as bigint)) / 1000000.0 as seconds,
    count(*) as events,
    count(*) filter (where is_user_action) as user_actions
from ods
where session_id is not null
group by session_id
order by seconds desc, session_id
limit 20
