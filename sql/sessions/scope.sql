-- reads:      changed_events (sql/sessions/changed_events.sql), removed_events (events that leave
--             ods; empty but in a reprocess)
-- returns:    grain: one key under one entry of the session rules
--             key: (user_id, product_code, rules_entry)
--               earliest      its earliest changed event; nothing before it changes
--               context_from  where reading must begin
-- parameters: margin_micros: longest timeout or lookback of any rules, microseconds
with touched as (
    select user_id, product_code, rules_entry, timestamp from changed_events
    union all
    select user_id, product_code, rules_entry, timestamp from removed_events
)
select
    user_id,
    product_code,
    rules_entry,
    min(timestamp) as earliest,
    arrow_cast(
        cast(min(timestamp) as bigint) - $margin_micros,
        'Timestamp(Microsecond, Some("UTC"))'
    ) as context_from
from touched
group by user_id, product_code, rules_entry
