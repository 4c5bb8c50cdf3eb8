-- One row for each market and minute in which it traded or its quote was told; a minute begins at its first millisecond.
-- As in the exchange's candlesticks: `price` is that of trades, from the first to the last of the minute; a quote opens
-- with what stood when the minute began, where the day has told it. Each day stands for itself.
WITH trade AS (
    SELECT
        ticker, date_trunc('minute', exchange_ts) AS minute, price, size, price * size AS dollars,
        row_number() OVER (
            PARTITION BY ticker, date_trunc('minute', exchange_ts) ORDER BY exchange_ts, received_at, trade_id
        ) AS nth,
        count(*) OVER (PARTITION BY ticker, date_trunc('minute', exchange_ts)) AS of_all
    FROM trades
    WHERE date = {date} AND exchange_ts >= {start} AND exchange_ts < {end}
),
traded AS (
    SELECT
        ticker, minute,
        max(CASE WHEN nth = 1 THEN price END) AS open,
        max(price) AS high,
        min(price) AS low,
        max(CASE WHEN nth = of_all THEN price END) AS close,
        sum(size) AS volume,
        sum(dollars) AS dollar_volume,
        CAST(sum(dollars) * 100000000 AS BIGINT) AS parts, -- the mean in whole numbers: a double of 0.57 is less
        CAST(sum(size) * 100 AS BIGINT) AS hundredths,
        count(*) AS trades
    FROM trade GROUP BY ticker, minute
),
quote AS (
    SELECT
        ticker, date_trunc('minute', exchange_ts) AS minute, yes_bid, yes_ask, open_interest,
        row_number() OVER (
            PARTITION BY ticker, date_trunc('minute', exchange_ts) ORDER BY exchange_ts, received_at, digest
        ) AS nth,
        count(*) OVER (PARTITION BY ticker, date_trunc('minute', exchange_ts)) AS of_all
    FROM tickers
    WHERE date = {date} AND exchange_ts >= {start} AND exchange_ts < {end}
),
quoted AS (
    SELECT
        ticker, minute,
        max(CASE WHEN nth = 1 THEN yes_bid END) AS first_bid,
        max(yes_bid) AS highest_bid,
        min(yes_bid) AS lowest_bid,
        max(CASE WHEN nth = of_all THEN yes_bid END) AS last_bid,
        max(CASE WHEN nth = 1 THEN yes_ask END) AS first_ask,
        max(yes_ask) AS highest_ask,
        min(yes_ask) AS lowest_ask,
        max(CASE WHEN nth = of_all THEN yes_ask END) AS last_ask,
        max(CASE WHEN nth = of_all THEN open_interest END) AS open_interest
    FROM quote GROUP BY ticker, minute
),
standing AS (
    SELECT
        *,
        coalesce(lag(last_bid) OVER (PARTITION BY ticker ORDER BY minute), first_bid) AS standing_bid,
        coalesce(lag(last_ask) OVER (PARTITION BY ticker ORDER BY minute), first_ask) AS standing_ask
    FROM quoted
),
candle AS (
    SELECT
        coalesce(t.ticker, q.ticker) AS ticker, coalesce(t.minute, q.minute) AS minute,
        t.open, t.high, t.low, t.close, t.volume, t.dollar_volume, t.parts, t.hundredths, t.trades,
        q.standing_bid, q.highest_bid, q.lowest_bid, q.last_bid,
        q.standing_ask, q.highest_ask, q.lowest_ask, q.last_ask, q.open_interest
    FROM traded AS t FULL OUTER JOIN standing AS q ON t.ticker = q.ticker AND t.minute = q.minute
),
numbered AS (
    SELECT *, sum(CASE WHEN trades > 0 THEN 1 ELSE 0 END) OVER (PARTITION BY ticker ORDER BY minute) AS traded_minutes
    FROM candle
),
followed AS (
    SELECT
        now.*, before.close AS previous
    FROM numbered AS now
    LEFT JOIN numbered AS before
        ON before.ticker = now.ticker AND before.trades > 0
        AND before.traded_minutes = now.traded_minutes - CASE WHEN now.trades > 0 THEN 1 ELSE 0 END
)
SELECT
    ticker,
    minute,
    CAST(open AS DECIMAL(9, 6)) AS open,
    CAST(high AS DECIMAL(9, 6)) AS high,
    CAST(low AS DECIMAL(9, 6)) AS low,
    CAST(close AS DECIMAL(9, 6)) AS close,
    CAST(
        round(CAST(parts - parts % hundredths AS DOUBLE) / CAST(hundredths AS DOUBLE)) / 1000000 AS DECIMAL(9, 6)
    ) AS mean,
    CAST(previous AS DECIMAL(9, 6)) AS previous,
    CAST(standing_bid AS DECIMAL(9, 6)) AS yes_bid_open,
    CAST(greatest(highest_bid, standing_bid) AS DECIMAL(9, 6)) AS yes_bid_high,
    CAST(least(lowest_bid, standing_bid) AS DECIMAL(9, 6)) AS yes_bid_low,
    CAST(last_bid AS DECIMAL(9, 6)) AS yes_bid_close,
    CAST(standing_ask AS DECIMAL(9, 6)) AS yes_ask_open,
    CAST(greatest(highest_ask, standing_ask) AS DECIMAL(9, 6)) AS yes_ask_high,
    CAST(least(lowest_ask, standing_ask) AS DECIMAL(9, 6)) AS yes_ask_low,
    CAST(last_ask AS DECIMAL(9, 6)) AS yes_ask_close,
    CAST(coalesce(volume, 0) AS DECIMAL(18, 2)) AS volume,
    CAST(coalesce(dollar_volume, 0) AS DECIMAL(38, 8)) AS dollar_volume,
    CAST(coalesce(trades, 0) AS BIGINT) AS trades,
    CAST(open_interest AS DECIMAL(18, 2)) AS open_interest
FROM followed
