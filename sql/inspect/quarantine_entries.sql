-- The rows of a feed that are in quarantine.
--
-- reads:      quarantine (one rejected record or row)
-- returns:    grain one entry; key as quarantine
-- parameters: none; whoever asks filters, orders and limits
select
    _updated_at,
    stage,
    reason,
    _file,
    _line,
    detail,
    row_text
from quarantine
