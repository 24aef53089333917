-- reads:      delivered (sql/sessions/delivered.sql)
-- returns:    grain: one changed event, that is a new one, or a known one with a better winner
--             key: (user_id, product_code, timestamp, event_id)
-- parameters: none
select
    user_id, product_code, event_id, timestamp, is_user_action, pdate, _updated_at, attributes,
    opens, closes, rules_entry, timeout, max_duration, lookback, known
from delivered
where
    is_winner
    and (
        not known
        or _updated_at < known_updated_at
        or (_updated_at = known_updated_at and attributes_key < known_key)
    )
