-- severity: error
-- on: ods
-- message: a silence inside a session is longer than the timeout
-- reads: rows, ods (every event of the keys in rows), session_rules
-- returns: one row per event behind such a silence; key (user_id, product_code, timestamp, event_id)

select
    user_id,
    product_code,
    timestamp,
    event_id,
    session_id,
    previous_timestamp
from (
    select
        ods.user_id,
        ods.product_code,
        ods.timestamp,
        ods.event_id,
        ods.session_id,
        ods.pdate,
        lag(ods.timestamp) over (
            partition by ods.user_id, ods.product_code, ods.session_start
            order by ods.timestamp, ods.event_id
        ) as previous_timestamp
    from ods
    left semi join rows
        on ods.user_id = rows.user_id and ods.product_code = rows.product_code
    where ods.session_start is not null
) as events
inner join session_rules
    on events.pdate >= session_rules.from_pdate and events.pdate < session_rules.before_pdate
where cast(timestamp as bigint) - cast(previous_timestamp as bigint) > timeout_micros
