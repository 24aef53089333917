-- Sessions, numbered within their key. The number is computed, not stored: one late event may make
-- an early session, and every later one of its key would have to be written anew.
--
-- reads:      sessions (a table `sessions/<feed>`)
-- returns:    grain one session; key (user_id, product_code, session_start), and with it
--             (user_id, product_code, session_seq); the columns of the table and `session_seq`, from 1
-- parameters: none; whoever asks filters
select
    *,
    row_number() over (
        partition by user_id, product_code
        order by session_start
    ) as session_seq
from sessions
