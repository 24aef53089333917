-- The twenty keys with the most events, and what share of all events they have.
--
-- reads:      ods (one event)
-- returns:    grain one key; key (user_id, product_code); most events first
-- parameters: none
select
    user_id,
    product_code,
    events,
    sessions,
    round(100.0 * events / all_events, 3) as percent,
    round(
        100.0 * sum(events) over (
            order by events desc, user_id, product_code
            rows between unbounded preceding and current row
        ) / all_events,
        3
    ) as cumulative_percent
from (
    select
        user_id,
        product_code,
        count(*) as events,
        count(distinct session_id) as sessions,
        sum(count(*)) over () as all_events
    from ods
    group by
        user_id,
        product_code
) as keys
order by events desc, user_id, product_code
limit 20
