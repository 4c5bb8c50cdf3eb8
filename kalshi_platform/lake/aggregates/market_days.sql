-- One row for each market and day in which anything was heard of it: what was traded, how its book moved, how it ended.
WITH trade AS (
    SELECT
        ticker, exchange_ts, price, size, price * size AS dollars, taker_side, is_block_trade,
        row_number() OVER (PARTITION BY ticker ORDER BY exchange_ts, received_at, trade_id) AS nth,
        count(*) OVER (PARTITION BY ticker) AS of_all
    FROM trades
    WHERE date = {date} AND exchange_ts >= {start} AND exchange_ts < {end}
),
traded AS (
    SELECT
        ticker,
        count(*) AS trades,
        sum(size) AS volume,
        sum(dollars) AS dollar_volume,
        CAST(sum(dollars) * 100000000 AS BIGINT) AS parts, -- the mean in whole numbers: a double of 0.57 is less
        CAST(sum(size) * 100 AS BIGINT) AS hundredths,
        sum(CASE WHEN taker_side THEN size ELSE 0 END) AS taker_yes_volume,
        sum(CASE WHEN is_block_trade THEN size ELSE 0 END) AS block_volume,
        max(CASE WHEN nth = 1 THEN price END) AS open,
        max(price) AS high,
        min(price) AS low,
        max(CASE WHEN nth = of_all THEN price END) AS close,
        max(exchange_ts) AS last_trade_ts
    FROM trade GROUP BY ticker
),
quote AS (
    SELECT
        ticker, yes_bid, yes_ask, open_interest, exchange_ts,
        row_number() OVER (PARTITION BY ticker ORDER BY exchange_ts DESC, received_at DESC, digest DESC) AS nth_last
    FROM tickers
    WHERE date = {date} AND exchange_ts >= {start} AND exchange_ts < {end}
),
quoted AS (
    SELECT
        ticker,
        count(*) AS ticker_updates,
        max(CASE WHEN nth_last = 1 THEN yes_bid END) AS yes_bid,
        max(CASE WHEN nth_last = 1 THEN yes_ask END) AS yes_ask,
        max(CASE WHEN nth_last = 1 THEN open_interest END) AS open_interest
    FROM quote GROUP BY ticker
),
changed AS (
    SELECT ticker, count(*) AS deltas, min(exchange_ts) AS first_delta_ts, max(exchange_ts) AS last_delta_ts
    FROM orderbook_deltas
    WHERE date = {date} AND exchange_ts >= {start} AND exchange_ts < {end}
    GROUP BY ticker
),
market AS (
    SELECT ticker FROM traded UNION SELECT ticker FROM quoted UNION SELECT ticker FROM changed
)
SELECT
    m.ticker,
    {start} AS day_start,
    CAST(coalesce(t.trades, 0) AS BIGINT) AS trades,
    CAST(coalesce(t.volume, 0) AS DECIMAL(18, 2)) AS volume,
    CAST(coalesce(t.dollar_volume, 0) AS DECIMAL(38, 8)) AS dollar_volume,
    CAST(coalesce(t.taker_yes_volume, 0) AS DECIMAL(18, 2)) AS taker_yes_volume,
    CAST(coalesce(t.block_volume, 0) AS DECIMAL(18, 2)) AS block_volume,
    CAST(t.open AS DECIMAL(9, 6)) AS open,
    CAST(t.high AS DECIMAL(9, 6)) AS high,
    CAST(t.low AS DECIMAL(9, 6)) AS low,
    CAST(t.close AS DECIMAL(9, 6)) AS close,
    CAST(
        round(CAST(t.parts - t.parts % t.hundredths AS DOUBLE) / CAST(t.hundredths AS DOUBLE)) / 1000000
        AS DECIMAL(9, 6)
    ) AS mean,
    t.last_trade_ts,
    CAST(coalesce(q.ticker_updates, 0) AS BIGINT) AS ticker_updates,
    CAST(q.yes_bid AS DECIMAL(9, 6)) AS yes_bid,
    CAST(q.yes_ask AS DECIMAL(9, 6)) AS yes_ask,
    CAST(q.open_interest AS DECIMAL(18, 2)) AS open_interest,
    CAST(coalesce(c.deltas, 0) AS BIGINT) AS deltas,
    c.first_delta_ts,
    c.last_delta_ts
FROM market AS m
LEFT JOIN traded AS t ON t.ticker = m.ticker
LEFT JOIN quoted AS q ON q.ticker = m.ticker
LEFT JOIN changed AS c ON c.ticker = m.ticker
