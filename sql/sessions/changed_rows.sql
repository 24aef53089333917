-- reads:      changed_events, scope, ods (known events, judged)
-- returns:    grain: one event whose row in ods is new or differs
--             key: (user_id, product_code, timestamp, event_id)
--             columns of ods, the attributes as one struct
-- parameters: first_pdate: no context lies before it (prunes ods)
-- windows:    one key under one entry of the session rules, ordered by
--             (timestamp, opens first, event_id), which is total within a key
with replaced as (
    select user_id, product_code, timestamp, event_id from changed_events where known
),
context as (
    select
        o.user_id, o.product_code, o.event_id, o.timestamp, o.is_user_action, o.pdate,
        o._updated_at, o.attributes, o.opens, o.closes, o.rules_entry, o.timeout, o.max_duration,
        o.lookback,
        s.earliest,
        false as is_changed_event,
        o.session_start as known_session_start,
        o.time_diff_ms as known_time_diff_ms,
        -- Before the earliest change the session is known, however long ago it began.
        case when o.timestamp < s.earliest then o.session_start end as carried_start
    from ods o
    join scope s
        on o.user_id = s.user_id
        and o.product_code = s.product_code
        and o.rules_entry = s.rules_entry
    left anti join replaced r
        on o.user_id = r.user_id
        and o.product_code = r.product_code
        and o.timestamp = r.timestamp
        and o.event_id = r.event_id
    where o.pdate >= $first_pdate and o.timestamp >= s.context_from
),
rows_of_scope as (
    select * from context
    union all
    select
        c.user_id, c.product_code, c.event_id, c.timestamp, c.is_user_action, c.pdate,
        c._updated_at, c.attributes, c.opens, c.closes, c.rules_entry, c.timeout, c.max_duration,
        c.lookback,
        c.timestamp as earliest,
        true as is_changed_event,
        null as known_session_start,
        null as known_time_diff_ms,
        null as carried_start
    from changed_events c
),
sessionized as (
    select
        *,
        session_start(timestamp, opens, closes, carried_start, timeout, max_duration) over (
            partition by user_id, product_code, rules_entry
            order by timestamp, opens desc, event_id
        ) as session_start,
        cast(timestamp as bigint) - cast(
            lag(timestamp) over (
                partition by user_id, product_code, rules_entry
                order by timestamp, opens desc, event_id
            ) as bigint
        ) as gap_micros
    from rows_of_scope
),
recomputed as (
    select
        *,
        case when gap_micros <= cast(lookback as bigint) then gap_micros / 1000 end as time_diff_ms
    from sessionized
    -- Rows before the change are there to be read: their own context is not.
    where timestamp >= earliest
)
select
    user_id,
    product_code,
    event_id,
    timestamp,
    is_user_action,
    time_diff_ms,
    session_start,
    session_id(user_id, product_code, session_start) as session_id,
    pdate,
    _updated_at,
    attributes
from recomputed
where
    is_changed_event
    or (session_start is distinct from known_session_start)
    or (time_diff_ms is distinct from known_time_diff_ms)
