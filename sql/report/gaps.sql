-- How long keys were silent before an event, by length and by where that event stands.
--
-- A gap falls into bin b when 2^(b/2) s <= gap < 2^((b+1)/2) s; those below 1 s into -1. The first
-- event of a key within lookback_days has no gap.
--
-- reads:      ods (one event with its session)
-- returns:    grain one kind and bin; key (kind, bin); in that order. `within`: the event goes on
--             with its session; `opens`: it opens one; `without`: it belongs to none
-- parameters: $from, $to: first and last event date
select
    case
        when session_start is null then 'without'
        when session_start = timestamp and time_diff_ms > 0 then 'opens'
        else 'within'
    end as kind,
    case
        when time_diff_ms < 1000 then -1
        else cast(floor(2 * log2(time_diff_ms / 1000.0)) as bigint)
    end as bin,
    count(*) as gaps
from ods
where
    pdate between $from and $to
    and time_diff_ms is not null
group by 1, 2
order by
    kind asc,
    bin asc
