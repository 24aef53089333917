-- The event dates on which a user was active, by product.
--
-- reads:      ods (one distinct event)
-- returns:    grain one event date of a product; key (product_code, pdate); a session counts on
--             the date on which it starts
-- parameters: $user, text
select
    product_code,
    pdate,
    count(*) as events,
    count(distinct case when session_start = "timestamp" then session_start end) as sessions,
    min("timestamp") as first_event,
    max("timestamp") as last_event
from ods
where user_id = $user
group by product_code, pdate
order by product_code, pdate
