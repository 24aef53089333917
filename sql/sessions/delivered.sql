-- reads:      candidates (events of the deliveries at hand, judged), ods (known events, judged)
-- returns:    grain: one delivered row; key: none (identical rows repeat)
--             every column of candidates, and
--               position        1 for the winner of its event among these deliveries
--               previous_key    attributes of the next better duplicate, null for the winner
--               known           whether ods holds the event
--               known_updated_at, known_key   what decides between the two, null when not known
-- parameters: first_pdate, last_pdate: event dates of the candidates (prunes ods)
-- order:      duplicates by (_updated_at, attributes, nulls last), which is total up to rows
--             that are equal in every column
with known_events as (
    select user_id, product_code, event_id, timestamp, _updated_at, attributes
    from ods
    where pdate between $first_pdate and $last_pdate
)
select
    c.*,
    row_number() over (
        partition by c.user_id, c.product_code, c.timestamp, c.event_id
        order by c._updated_at, c.attributes_key
        rows between unbounded preceding and current row
    ) as position,
    lag(c.attributes_key) over (
        partition by c.user_id, c.product_code, c.timestamp, c.event_id
        order by c._updated_at, c.attributes_key
        rows between unbounded preceding and current row
    ) as previous_key,
    k.user_id is not null as known,
    k._updated_at as known_updated_at,
    attributes_key(k.attributes) as known_key
from candidates c
left join known_events k
    on c.user_id = k.user_id
    and c.product_code = k.product_code
    and c.timestamp = k.timestamp
    and c.event_id = k.event_id
