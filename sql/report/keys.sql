-- How active each key is.
--
-- reads:      ods (one event with its session)
-- returns:    grain one key; key (user_id, product_code); no order. `sessions`: those with an event
--             on these dates
-- parameters: $from, $to: first and last event date
select
    user_id,
    product_code,
    sum(events) as events,
    sum(events) filter (where session_start is null) as events_without_session,
    count(session_start) as sessions
from (
    select
        user_id,
        product_code,
        session_start,
        count(*) as events
    from ods
    where pdate between $from and $to
    group by
        user_id,
        product_code,
        session_start
)
group by
    user_id,
    product_code
