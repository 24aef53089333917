-- The events of some keys.
--
-- reads:      ods (one event with its session), chosen (one key with its rank)
-- returns:    grain one event; key (rank, micros, event_id); by rank, within a key the newest first.
--             Instants are microseconds since 1970-01-01, UTC
-- parameters: $from, $to: first and last event date
select
    chosen.rank,
    cast(ods.timestamp as bigint) as micros,
    ods.event_id,
    ods.is_user_action,
    cast(ods.session_start as bigint) as session_start_micros,
    cast(ods._updated_at as int) - cast(ods.pdate as int) as days_late
from ods
inner join chosen
    on
        ods.user_id = chosen.user_id
        and ods.product_code = chosen.product_code
where ods.pdate between $from and $to
order by
    chosen.rank asc,
    micros desc,
    ods.event_id desc
