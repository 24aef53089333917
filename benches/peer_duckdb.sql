-- reads:      delivered (the batch as text), $files (files of ods in the window)
-- returns:    grain: one event whose row in ods is new or differs; columns of ods
-- parameters: see peer_duckdb.py; times are microseconds
-- windows:    one key, ordered by (timestamp, opens first, event_id), which is total
create temp table changed_rows as
with candidates as (
    -- Of duplicates with one arrival date the smallest (page, price) wins, nulls last: the order
    -- of structs. Conversion to a timestamp keeps the microseconds and cuts what is finer.
    select
        user_id,
        product_code,
        event_id,
        epoch_us(cast("timestamp" as timestamp)) as micros,
        min({'page': page, 'price': cast(price as double)}) as attributes
    from delivered
    where
        user_id is not null
        and product_code is not null
        and event_id is not null
        and cast(cast("timestamp" as timestamp) as date) between $first_date and $last_date
    group by all
),
known as not materialized (
    select
        user_id,
        product_code,
        event_id,
        epoch_us("timestamp") as micros,
        is_user_action,
        time_diff_ms,
        epoch_us(session_start) as start_micros,
        _updated_at,
        page,
        price
    from read_parquet($files, hive_partitioning = true)
),
changed_events as materialized (
    select c.*, k.user_id is not null as is_known
    from candidates c
    left join known k using (user_id, product_code, event_id, micros)
    where
        k.user_id is null
        or k._updated_at > $arrival_date
        or (k._updated_at = $arrival_date and c.attributes < {'page': k.page, 'price': k.price})
),
scope as (
    select user_id, product_code, min(micros) as earliest
    from changed_events
    group by all
),
context as (
    select k.*, s.earliest
    from known k
    join scope s using (user_id, product_code)
    anti join (select * from changed_events where is_known) r
        using (user_id, product_code, event_id, micros)
    where k.micros >= s.earliest - $lookback_micros
),
rows_of_scope as (
    select
        user_id, product_code, event_id, micros, is_user_action, _updated_at, page, price,
        false as is_changed_event,
        micros >= earliest as is_recomputed,
        -- Before the earliest change the session is known, however long ago it began.
        case when micros < earliest then start_micros when is_user_action then micros end
            as opening_micros,
        start_micros as known_start_micros,
        time_diff_ms as known_time_diff_ms
    from context
    union all
    select
        user_id, product_code, event_id, micros,
        event_id in ('view', 'click', 'add_to_cart', 'purchase') as is_user_action,
        $arrival_date as _updated_at,
        attributes.page, attributes.price,
        true as is_changed_event,
        true as is_recomputed,
        case when event_id in ('view', 'click', 'add_to_cart', 'purchase') then micros end
            as opening_micros,
        null as known_start_micros,
        null as known_time_diff_ms
    from changed_events
),
gaps as (
    select *, micros - lag(micros) over key as gap_micros
    from rows_of_scope
    window key as (
        partition by user_id, product_code
        order by micros, is_user_action desc, event_id
    )
),
stretches as (
    select
        *,
        count(*) filter (where gap_micros is null or gap_micros > $timeout_micros) over key
            as stretch
    from gaps
    window key as (
        partition by user_id, product_code
        order by micros, is_user_action desc, event_id
        rows between unbounded preceding and current row
    )
),
openings as (
    select
        *,
        min(opening_micros) over (partition by user_id, product_code, stretch) as opened_micros
    from stretches
),
recomputed as (
    select
        *,
        case when opened_micros <= micros then opened_micros end as start_micros,
        case when gap_micros <= $lookback_micros then gap_micros // 1000 end as time_diff_ms
    from openings
    where is_recomputed
)
select
    user_id,
    product_code,
    event_id,
    make_timestamptz(micros) as "timestamp",
    is_user_action,
    time_diff_ms,
    make_timestamptz(start_micros) as session_start,
    replace(replace(user_id, '%', '%25'), '#', '%23')
        || '#' || replace(replace(product_code, '%', '%25'), '#', '%23')
        || '#' || strftime(make_timestamp(start_micros), '%Y-%m-%dT%H:%M:%S')
        || case
            when start_micros % 1000000 = 0 then 'Z'
            when start_micros % 1000 = 0 then strftime(make_timestamp(start_micros), '.%gZ')
            else strftime(make_timestamp(start_micros), '.%fZ')
        end as session_id,
    cast(make_timestamp(micros) as date) as pdate,
    _updated_at,
    page,
    price
from recomputed
where
    is_changed_event
    or start_micros is distinct from known_start_micros
    or time_diff_ms is distinct from known_time_diff_ms
