-- severity: error
-- on: ods
-- message: an event lies before the start of its session
-- reads: rows
-- returns: one row per such event; key (user_id, product_code, timestamp, event_id)

select
    user_id,
    product_code,
    timestamp,
    event_id,
    session_start
from rows
where session_start > timestamp
