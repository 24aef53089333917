-- How many rejected rows hold a user's id in their text, and why they were rejected.
--
-- reads:      quarantine (one rejected record or row)
-- returns:    grain one reason of a stage; key (stage, reason)
-- parameters: $pattern, text: a regular expression that finds the id as a whole word
select
    stage,
    reason,
    count(*) as entries
from quarantine
where regexp_like(row_text, $pattern)
group by stage, reason
order by stage, reason
