-- Sessions by the event date on which they start and by length, from first to last event.
--
-- A length falls into bin b when 2^(b/2) s <= length < 2^((b+1)/2) s; those below 1 s into -1. A
-- session that goes on after $to is followed for one more event date.
--
-- reads:      ods (one event with its session)
-- returns:    grain one event date and bin of lengths; key (event_date, bin); in that order
-- parameters: $from, $to: first and last event date; $day_after: the date behind $to
select
    event_date,
    case
        when length_ms < 1000 then -1
        else cast(floor(2 * log2(length_ms / 1000.0)) as bigint)
    end as bin,
    count(*) as sessions,
    sum(events) as events,
    sum(length_ms) as length_ms
from (
    select
        min(pdate) as event_date,
        (cast(max(timestamp) as bigint) - cast(min(timestamp) as bigint)) / 1000 as length_ms,
        count(*) as events
    from ods
    where
        pdate between $from and $day_after
        and session_start is not null
    group by
        user_id,
        product_code,
        session_start
    -- Without those that start before $from.
    having min(timestamp) = session_start
)
where event_date <= $to
group by 1, 2
order by
    event_date asc,
    bin asc
