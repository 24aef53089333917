-- Sessions by the day on which they began: how many, of how many users, and how long.
--
-- reads:      ods (one event)
-- returns:    grain one event date on which sessions began; key (session_date)
-- parameters: none
select
    session_date,
    count(*) as sessions,
    count(distinct user_id) as users,
    sum(events) as events,
    sum(user_actions) as user_actions,
    round(avg(seconds), 1) as mean_seconds,
    max(seconds) as longest_seconds
from (
    select
        session_id,
        min(user_id) as user_id,
        min(pdate) as session_date,
        count(*) as events,
        count(*) filter (where is_user_action) as user_actions,
        (cast(max(timestamp) as bigint) - cast(min(timestamp) as bigint)) / 1000000.0 as seconds
    from ods
    where session_id is not null
    group by session_id
) as sessions
group by session_date
order by session_date
