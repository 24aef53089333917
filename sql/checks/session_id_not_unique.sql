-- severity: error
-- on: ods
-- message: a session has no id of its own: sessions share it, or one session has several or none
-- reads: rows
-- returns: one row per session (user_id, product_code, session_start) whose id is not its own

select
    user_id,
    product_code,
    session_start,
    session_id
from (
    select
        user_id,
        product_code,
        session_start,
        session_id,
        count(*) over (partition by user_id, product_code, session_start) as ids_of_session,
        count(*) over (partition by session_id) as sessions_of_id
    from (
        select distinct
            user_id,
            product_code,
            session_start,
            session_id
        from rows
        where session_start is not null or session_id is not null
    ) as sessions
) as counted
where ids_of_session > 1 or sessions_of_id > 1 or session_start is null or session_id is null
