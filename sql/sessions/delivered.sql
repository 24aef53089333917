-- reads:      candidates (events of the deliveries at hand, judged), ods (known events, judged)
-- returns:    grain: one delivered row; key: none (identical rows repeat)
--             every column of candidates, and
--               is_winner       the best row of its event among these deliveries
--               is_repeat       equal in every attribute to the next better duplicate among them
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
    not repeats(c.timestamp, c.event_id) over (
        partition by c.user_id, c.product_code
        order by c.timestamp, c.event_id, c._updated_at, c.attributes_key
    ) as is_winner,
    repeats(c.timestamp, c.event_id, c.attributes_key) over (
        partition by c.user_id, c.product_code
        order by c.timestamp, c.event_id, c._updated_at, c.attributes_key
    ) as is_repeat,
    k.user_id is not null as known,
    k._updated_at as known_updated_at,
    attributes_key(k.attributes) as known_key
from candidates c
left join known_events k
    on c.user_id = k.user_id
    and c.product_code = k.product_code
    and c.timestamp = k.timestamp
    and c.event_id = k.event_id
