-- Every change of a market's best prices and of the sizes at them, from the book itself. A market is in it if a checkpoint
-- of it stands in the hour, at its beginning or at its end; its first row is the quote at the hour's beginning, and a
-- quote stands until the next row. The book at the beginning is the first checkpoint without the changes before it. Each
-- later checkpoint puts right what no change said: a close, at which the exchange empties the book, or what was missed.
WITH checkpoint AS (
    SELECT ticker, min(snapshot_ts) AS snapshot_ts
    FROM orderbook_snapshots
    WHERE source = 'checkpoint' AND date BETWEEN {date} AND {end_date} AND snapshot_ts BETWEEN {start} AND {end}
    GROUP BY ticker
),
delta AS (
    SELECT d.ticker, d.side, d.price, d.exchange_ts, d.size_delta, c.snapshot_ts
    FROM orderbook_deltas AS d JOIN checkpoint AS c ON c.ticker = d.ticker
    WHERE d.date = {date} AND d.hour = {hour} AND d.exchange_ts >= {start} AND d.exchange_ts < {end}
),
kept AS (
    SELECT ticker, snapshot_ts, lead(snapshot_ts) OVER (PARTITION BY ticker ORDER BY snapshot_ts) AS next_ts
    FROM orderbook_snapshots
    WHERE source = 'checkpoint' AND date = {date} AND snapshot_ts >= {start} AND snapshot_ts < {end}
),
-- Each change, and the checkpoint that comes after it: where two stand in the hour, which few markets have.
followed_by AS (
    SELECT
        ticker, side, price, size, stamp,
        max(next_ts) OVER (
            PARTITION BY ticker ORDER BY stamp, nth ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS since_ts
    FROM (
        SELECT ticker, side, price, size_delta AS size, exchange_ts AS stamp, 1 AS nth, NULL AS next_ts FROM delta
        WHERE ticker IN (SELECT ticker FROM kept WHERE next_ts IS NOT NULL)
        UNION ALL
        SELECT ticker, NULL AS side, NULL AS price, NULL AS size, snapshot_ts AS stamp, 0 AS nth, next_ts FROM kept
        WHERE next_ts IS NOT NULL
    ) AS stamped
),
correction AS (
    SELECT ticker, side, price, since_ts, sum(size) AS size FROM (
        SELECT l.ticker, l.side, l.price, k.next_ts AS since_ts, l.size
        FROM checkpoint_levels AS l JOIN kept AS k ON k.ticker = l.ticker AND k.next_ts = l.snapshot_ts
        WHERE l.date = {date}
        UNION ALL
        SELECT l.ticker, l.side, l.price, k.next_ts AS since_ts, -l.size AS size
        FROM checkpoint_levels AS l JOIN kept AS k ON k.ticker = l.ticker AND k.snapshot_ts = l.snapshot_ts
        WHERE l.date = {date} AND k.next_ts IS NOT NULL
        UNION ALL
        SELECT ticker, side, price, since_ts, -size AS size FROM followed_by WHERE side IS NOT NULL AND stamp < since_ts
    ) AS difference
    GROUP BY ticker, side, price, since_ts HAVING sum(size) <> 0
),
change AS (
    SELECT l.ticker, l.side, l.price, {start} AS since_ts, l.size
    FROM checkpoint_levels AS l JOIN checkpoint AS c ON c.ticker = l.ticker AND c.snapshot_ts = l.snapshot_ts
    WHERE l.date BETWEEN {date} AND {end_date} AND l.snapshot_ts BETWEEN {start} AND {end}
    UNION ALL
    SELECT ticker, side, price, {start} AS since_ts, -size_delta AS size FROM delta WHERE exchange_ts < snapshot_ts
    UNION ALL
    SELECT ticker, side, price, exchange_ts AS since_ts, size_delta AS size FROM delta
    UNION ALL
    SELECT ticker, side, price, since_ts, size FROM correction
),
-- What each level held, from when until when.
level_change AS (
    SELECT ticker, side, price, since_ts, sum(size) AS size FROM change GROUP BY ticker, side, price, since_ts
),
level AS (
    SELECT
        ticker, side, price, since_ts,
        sum(size) OVER (PARTITION BY ticker, side, price ORDER BY since_ts) AS size,
        lead(since_ts) OVER (PARTITION BY ticker, side, price ORDER BY since_ts) AS until_ts
    FROM level_change
),
-- The moments at which anything changed, and the levels that stood in the second of each. A join of moments and levels
-- alone would compare every moment of an hour with every level of it; so minutes come first, then seconds.
moment AS (
    SELECT ticker, since_ts, date_trunc('minute', since_ts) AS minute, date_trunc('second', since_ts) AS second
    FROM level_change
    UNION
    SELECT ticker, {start} AS since_ts, {start} AS minute, {start} AS second FROM checkpoint
),
minute_level AS (
    SELECT m.ticker, m.minute, l.side, l.price, l.size, l.since_ts, l.until_ts
    FROM (SELECT DISTINCT ticker, minute FROM moment) AS m JOIN level AS l ON l.ticker = m.ticker
    WHERE l.size > 0 AND l.since_ts < m.minute + INTERVAL '1' MINUTE AND coalesce(l.until_ts, {end}) > m.minute
),
second_level AS (
    SELECT m.ticker, m.second, l.side, l.price, l.size, l.since_ts, l.until_ts
    FROM (SELECT DISTINCT ticker, minute, second FROM moment) AS m
    JOIN minute_level AS l ON l.ticker = m.ticker AND l.minute = m.minute
    WHERE l.since_ts < m.second + INTERVAL '1' SECOND AND coalesce(l.until_ts, {end}) > m.second
),
quote AS (
    SELECT
        m.ticker, m.since_ts,
        max(CASE WHEN s.side THEN s.price END) AS yes_bid,
        max_by(CASE WHEN s.side THEN s.size END, CASE WHEN s.side THEN s.price END) AS yes_bid_size,
        1 - max(CASE WHEN NOT s.side THEN s.price END) AS yes_ask,
        max_by(CASE WHEN NOT s.side THEN s.size END, CASE WHEN NOT s.side THEN s.price END) AS yes_ask_size
    FROM moment AS m
    LEFT JOIN second_level AS s
        ON s.ticker = m.ticker AND s.second = m.second
        AND s.since_ts <= m.since_ts AND coalesce(s.until_ts, {end}) > m.since_ts
    GROUP BY m.ticker, m.since_ts
),
followed AS (
    SELECT
        *,
        lag(yes_bid) OVER (PARTITION BY ticker ORDER BY since_ts) AS last_bid,
        lag(yes_bid_size) OVER (PARTITION BY ticker ORDER BY since_ts) AS last_bid_size,
        lag(yes_ask) OVER (PARTITION BY ticker ORDER BY since_ts) AS last_ask,
        lag(yes_ask_size) OVER (PARTITION BY ticker ORDER BY since_ts) AS last_ask_size,
        row_number() OVER (PARTITION BY ticker ORDER BY since_ts) AS nth
    FROM quote
)
SELECT
    ticker,
    since_ts AS exchange_ts,
    CAST(yes_bid AS DECIMAL(9, 6)) AS yes_bid,
    CAST(yes_bid_size AS DECIMAL(18, 2)) AS yes_bid_size,
    CAST(yes_ask AS DECIMAL(9, 6)) AS yes_ask,
    CAST(yes_ask_size AS DECIMAL(18, 2)) AS yes_ask_size
FROM followed
WHERE nth = 1
    OR yes_bid IS DISTINCT FROM last_bid OR yes_bid_size IS DISTINCT FROM last_bid_size
    OR yes_ask IS DISTINCT FROM last_ask OR yes_ask_size IS DISTINCT FROM last_ask_size
