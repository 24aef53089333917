-- The newest stages of runs of a feed.
--
-- reads:      runs (one stage of a run)
-- returns:    grain one stage of a run for an arrival date; in the order of their start
-- parameters: $feed
select
    run_id,
    arrival_date,
    stage,
    started,
    seconds,
    outcome,
    error,
    rows_read,
    rows_new,
    rows_identical_duplicates,
    rows_conflicting_duplicates,
    rows_quarantined,
    rows_changed
from (
    select *
    from runs
    where feed = $feed
    order by
        started desc,
        run_id desc,
        arrival_date desc nulls last,
        stage desc
    limit 240
)
order by
    started asc,
    run_id asc,
    arrival_date asc nulls last,
    stage asc
