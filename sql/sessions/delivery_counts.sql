-- reads:      delivered (sql/sessions/delivered.sql)
-- returns:    grain: one row
--               new          events that ods does not hold
--               identical    rows equal in every attribute to the event as known, or to the next
--                            better duplicate among these deliveries
--               conflicting  rows of a known or repeated event with other attributes
-- parameters: none
select
    count(*) filter (where is_winner and not known) as new,
    count(*) filter (
        where (is_repeat or (known and (attributes_key is not distinct from known_key)))
    ) as identical,
    count(*) filter (
        where (known or not is_winner)
        and not is_repeat
        and (attributes_key is distinct from known_key)
    ) as conflicting
from delivered
