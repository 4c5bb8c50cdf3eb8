-- Every change of a market's best prices and of the sizes at them, from the book itself. A market is in it if a checkpoint
-- of it stands in the hour, at its beginning or at its end; its first row is the quote at the hour's beginning, and a
-- quote stands until the next row. What nobody heard, and each checkpoint but the first, cuts the hour into stretches, each
-- with the book of its checkpoint. The book before a first checkpoint is that one without the changes before it, back to
-- where the market was first heard; that before any, back to where the exchange sent the book empty. One row without
-- prices says where no book can be told: without a checkpoint, where nobody heard the market, and from an empty book that
-- no change explains, where no checkpoint leads back to it.
WITH market AS (
    SELECT DISTINCT ticker FROM orderbook_snapshots
    WHERE source = 'checkpoint' AND date BETWEEN {date} AND {end_date} AND snapshot_ts BETWEEN {start} AND {end}
),
-- A change that was missed may carry a time that is earlier than the hole, by as long as a message may take.
missed AS (
    SELECT ticker, from_at - INTERVAL '{slack}' SECOND AS from_ts, until_at AS until_ts
    FROM uncovered_intervals
    WHERE channel = 'orderbook_delta' AND date BETWEEN {date} AND {end_date}
        AND from_at - INTERVAL '{slack}' SECOND < {end} AND until_at > {start}
),
hole AS (
    SELECT m.ticker, greatest(h.from_ts, {start}) AS from_ts, h.until_ts
    FROM market AS m JOIN missed AS h ON h.ticker = m.ticker
    UNION
    SELECT m.ticker, greatest(h.from_ts, {start}) AS from_ts, h.until_ts
    FROM market AS m CROSS JOIN missed AS h WHERE h.ticker = ''
),
-- What lies between the end of all earlier holes and the next one; behind the last one comes the end of the hour.
between_holes AS (
    SELECT
        ticker,
        coalesce(max(until_ts) OVER (
            PARTITION BY ticker ORDER BY from_ts, until_ts ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), {start}) AS heard_from,
        from_ts AS heard_until
    FROM (SELECT ticker, from_ts, until_ts FROM hole UNION ALL SELECT ticker, {end}, {end} FROM market) AS cut
),
checkpoint AS (
    SELECT DISTINCT ticker, snapshot_ts FROM orderbook_snapshots
    WHERE source = 'checkpoint' AND date BETWEEN {date} AND {end_date} AND snapshot_ts BETWEEN {start} AND {end}
),
-- From when on a market was heard: a checkpoint without an earlier book is of one that was heard in days before.
first_book AS (
    SELECT
        ticker,
        CASE
            WHEN min(CASE WHEN source = 'checkpoint' THEN snapshot_ts END)
                < coalesce(min(CASE WHEN source <> 'checkpoint' THEN snapshot_ts END), {end} + INTERVAL '1' HOUR)
            THEN {start} ELSE min(snapshot_ts)
        END AS first_ts
    FROM orderbook_snapshots WHERE date BETWEEN {day_before} AND {end_date} GROUP BY ticker
),
emptied AS (
    SELECT DISTINCT ticker, snapshot_ts AS emptied_ts FROM emptied_books
    WHERE date BETWEEN {date} AND {end_date} AND snapshot_ts >= {start} AND snapshot_ts < {end}
),
told AS (
    SELECT
        b.ticker, b.heard_from AS all_from, b.heard_until AS all_until, c.snapshot_ts,
        lag(c.snapshot_ts) OVER (PARTITION BY b.ticker, b.heard_from ORDER BY c.snapshot_ts) AS earlier_ts
    FROM between_holes AS b JOIN checkpoint AS c
        ON c.ticker = b.ticker AND c.snapshot_ts BETWEEN b.heard_from AND b.heard_until
    WHERE b.heard_from < b.heard_until
),
-- From when on a checkpoint tells the book: from itself on, but back to where it was emptied, and the first one to where
-- all began.
begun AS (
    SELECT
        t.ticker, t.snapshot_ts, t.all_from, t.all_until,
        CASE
            WHEN t.earlier_ts IS NOT NULL THEN coalesce(max(e.emptied_ts), t.snapshot_ts)
            ELSE greatest(t.all_from, f.first_ts, coalesce(max(e.emptied_ts), t.all_from))
        END AS heard_from
    FROM told AS t JOIN first_book AS f ON f.ticker = t.ticker LEFT JOIN emptied AS e
        ON e.ticker = t.ticker AND e.emptied_ts >= t.all_from AND e.emptied_ts < t.snapshot_ts
        AND (t.earlier_ts IS NULL OR e.emptied_ts > t.earlier_ts)
    GROUP BY t.ticker, t.snapshot_ts, t.all_from, t.all_until, t.earlier_ts, f.first_ts
),
stretch AS (
    SELECT ticker, snapshot_ts, heard_from, heard_until FROM (
        SELECT *, lead(heard_from, 1, all_until) OVER (PARTITION BY ticker, all_from ORDER BY snapshot_ts) AS heard_until
        FROM begun
    ) AS cut
    WHERE heard_from < heard_until
),
delta AS (
    SELECT d.ticker, s.heard_from, s.heard_until, d.side, d.price, d.exchange_ts, d.size_delta, s.snapshot_ts
    FROM orderbook_deltas AS d JOIN stretch AS s
        ON s.ticker = d.ticker AND d.exchange_ts >= s.heard_from AND d.exchange_ts < s.heard_until
    WHERE d.date = {date} AND d.hour = {hour} AND d.exchange_ts >= {start} AND d.exchange_ts < {end}
),
change AS (
    SELECT l.ticker, s.heard_from, s.heard_until, l.side, l.price, s.heard_from AS since_ts, l.size
    FROM checkpoint_levels AS l JOIN stretch AS s ON s.ticker = l.ticker AND s.snapshot_ts = l.snapshot_ts
    WHERE l.date BETWEEN {date} AND {end_date} AND l.snapshot_ts BETWEEN {start} AND {end}
    UNION ALL
    SELECT ticker, heard_from, heard_until, side, price, heard_from AS since_ts, -size_delta AS size
    FROM delta WHERE exchange_ts < snapshot_ts
    UNION ALL
    SELECT ticker, heard_from, heard_until, side, price, exchange_ts AS since_ts, size_delta AS size FROM delta
),
-- What each level held, from when until when.
level_change AS (
    SELECT ticker, heard_from, heard_until, side, price, since_ts, sum(size) AS size
    FROM change GROUP BY ticker, heard_from, heard_until, side, price, since_ts
),
level AS (
    SELECT
        ticker, heard_from, side, price, since_ts,
        sum(size) OVER (PARTITION BY ticker, heard_from, side, price ORDER BY since_ts) AS size,
        coalesce(
            lead(since_ts) OVER (PARTITION BY ticker, heard_from, side, price ORDER BY since_ts), heard_until
        ) AS until_ts
    FROM level_change
),
-- The moments at which anything changed, and the levels that stood in the second of each. A join of moments and levels
-- alone would compare every moment of an hour with every level of it; so minutes come first, then seconds.
moment AS (
    SELECT
        ticker, heard_from, since_ts, max(is_emptied) AS is_emptied,
        date_trunc('minute', since_ts) AS minute, date_trunc('second', since_ts) AS second
    FROM (
        SELECT ticker, heard_from, since_ts, 0 AS is_emptied FROM level_change
        UNION ALL
        SELECT ticker, heard_from, heard_from AS since_ts, 0 AS is_emptied FROM stretch
        UNION ALL
        SELECT e.ticker, s.heard_from, e.emptied_ts AS since_ts, 1 AS is_emptied
        FROM emptied AS e JOIN stretch AS s
            ON s.ticker = e.ticker AND e.emptied_ts > s.snapshot_ts AND e.emptied_ts < s.heard_until
    ) AS happened
    GROUP BY ticker, heard_from, since_ts
),
minute_level AS (
    SELECT m.ticker, m.heard_from, m.minute, l.side, l.price, l.size, l.since_ts, l.until_ts
    FROM (SELECT DISTINCT ticker, heard_from, minute FROM moment) AS m
    JOIN level AS l ON l.ticker = m.ticker AND l.heard_from = m.heard_from
    WHERE l.size > 0 AND l.since_ts < m.minute + INTERVAL '1' MINUTE AND l.until_ts > m.minute
),
second_level AS (
    SELECT m.ticker, m.heard_from, m.second, l.side, l.price, l.size, l.since_ts, l.until_ts
    FROM (SELECT DISTINCT ticker, heard_from, minute, second FROM moment) AS m
    JOIN minute_level AS l ON l.ticker = m.ticker AND l.heard_from = m.heard_from AND l.minute = m.minute
    WHERE l.since_ts < m.second + INTERVAL '1' SECOND AND l.until_ts > m.second
),
best AS (
    SELECT
        m.ticker, m.heard_from, m.since_ts, m.is_emptied,
        max(CASE WHEN s.side THEN s.price END) AS yes_bid,
        max_by(CASE WHEN s.side THEN s.size END, CASE WHEN s.side THEN s.price END) AS yes_bid_size,
        1 - max(CASE WHEN NOT s.side THEN s.price END) AS yes_ask,
        max_by(CASE WHEN NOT s.side THEN s.size END, CASE WHEN NOT s.side THEN s.price END) AS yes_ask_size
    FROM moment AS m
    LEFT JOIN second_level AS s
        ON s.ticker = m.ticker AND s.heard_from = m.heard_from AND s.second = m.second
        AND s.since_ts <= m.since_ts AND s.until_ts > m.since_ts
    GROUP BY m.ticker, m.heard_from, m.since_ts, m.is_emptied
),
known AS (
    SELECT *, 0 = max(CASE WHEN is_emptied = 1 AND coalesce(yes_bid, yes_ask) IS NOT NULL THEN 1 ELSE 0 END) OVER (
        PARTITION BY ticker, heard_from ORDER BY since_ts
    ) AS is_known
    FROM best
),
quote AS (
    SELECT
        ticker, since_ts, is_known,
        CASE WHEN is_known THEN yes_bid END AS yes_bid, CASE WHEN is_known THEN yes_bid_size END AS yes_bid_size,
        CASE WHEN is_known THEN yes_ask END AS yes_ask, CASE WHEN is_known THEN yes_ask_size END AS yes_ask_size
    FROM known
    UNION ALL
    SELECT u.ticker, u.since_ts, false, NULL, NULL, NULL, NULL FROM (
        SELECT ticker, from_ts AS since_ts FROM hole
        UNION
        SELECT ticker, heard_from AS since_ts FROM between_holes WHERE heard_from < heard_until
    ) AS u LEFT JOIN stretch AS s ON s.ticker = u.ticker AND s.heard_from = u.since_ts
    WHERE s.ticker IS NULL
),
followed AS (
    SELECT
        *,
        lag(yes_bid) OVER (PARTITION BY ticker ORDER BY since_ts) AS last_bid,
        lag(yes_bid_size) OVER (PARTITION BY ticker ORDER BY since_ts) AS last_bid_size,
        lag(yes_ask) OVER (PARTITION BY ticker ORDER BY since_ts) AS last_ask,
        lag(yes_ask_size) OVER (PARTITION BY ticker ORDER BY since_ts) AS last_ask_size,
        lag(is_known) OVER (PARTITION BY ticker ORDER BY since_ts) AS was_known
    FROM quote
)
SELECT
    ticker,
    since_ts AS exchange_ts,
    CAST(yes_bid AS DECIMAL(9, 6)) AS yes_bid,
    CAST(yes_bid_size AS DECIMAL(18, 2)) AS yes_bid_size,
    CAST(yes_ask AS DECIMAL(9, 6)) AS yes_ask,
    CAST(yes_ask_size AS DECIMAL(18, 2)) AS yes_ask_size,
    CASE WHEN NOT is_known THEN false WHEN reckoned.hours > 0 THEN true END AS is_whole
FROM followed CROSS JOIN (
    SELECT count(*) AS hours FROM coverage_hours
    WHERE channel = 'orderbook_delta' AND date = {date} AND hour <= {start} AND hour > {start} - INTERVAL '1' HOUR
) AS reckoned
WHERE is_known IS DISTINCT FROM was_known -- the first row has none before it
    OR yes_bid IS DISTINCT FROM last_bid OR yes_bid_size IS DISTINCT FROM last_bid_size
    OR yes_ask IS DISTINCT FROM last_ask OR yes_ask_size IS DISTINCT FROM last_ask_size
