-- The newest fact about each file that a run has seen.
--
-- reads:      files (facts, several of a file)
-- returns:    grain one file as it was seen under one arrival date;
--             key (feed, arrival_date, file, bytes, version)
-- parameters: none; whoever asks filters
select
    feed,
    arrival_date,
    file,
    url,
    bytes,
    version,
    content_hash,
    accept_late,
    status,
    rows,
    rows_rejected,
    reasons,
    error,
    run_id,
    first_seen_ever as first_seen,
    updated
from (
    select
        *,
        min(first_seen) over (
            partition by feed, arrival_date, file, bytes, version
        ) as first_seen_ever,
        -- A run writes what became of a file behind `seen`, in the same microsecond at the earliest.
        row_number() over (
            partition by feed, arrival_date, file, bytes, version
            order by updated desc, status = 'seen' asc, run_id desc, status asc, accept_late desc
        ) as newest_first
    from files
)
where newest_first = 1
