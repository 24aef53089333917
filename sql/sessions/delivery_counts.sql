-- reads:      delivered (sql/sessions/delivered.sql)
-- returns:    grain: one row
--               new          events that ods does not hold
--               identical    rows equal in every attribute to the event as known, or to the next
--                            better duplicate among these deliveries
--               conflicting  rows of a known or repeated event with other attributes
-- parameters: none
select
    count(*) filter (where position = 1 and not known) as new,
    count(*) filter (
        where (position > 1 or known)
        and (
            (attributes_key is not distinct from known_key)
            or (attributes_key is not distinct from previous_key)
        )
    ) as identical,
    count(*) filter (
        where (position > 1 or known)
        and (attributes_key is distinct from known_key)
        and (attributes_key is distinct from previous_key)
    ) as conflicting
from delivered
