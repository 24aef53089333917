-- Keys by their number of events.
--
-- reads:      keys (one key, see keys.sql)
-- returns:    grain one bin; key (bin); in that order. Bin b holds keys of 2^b to 2^(b+1) - 1 events
-- parameters: none
select
    cast(floor(log2(events)) as bigint) as bin,
    count(*) as keys,
    sum(events) as events
from keys
group by 1
order by bin asc
