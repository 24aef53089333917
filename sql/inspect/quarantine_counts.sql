-- How many rows of a feed are in quarantine, and why.
--
-- reads:      quarantine (one rejected record or row)
-- returns:    grain one reason of a stage under one arrival date; key (_updated_at, stage, reason)
-- parameters: none; whoever asks filters
select
    _updated_at,
    stage,
    reason,
    count(*) as entries,
    count(distinct _file) as files
from quarantine
group by
    _updated_at,
    stage,
    reason
