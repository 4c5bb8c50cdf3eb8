-- One row for each market that was settled in the day, as the metadata of that day or of a later one says it.
SELECT
    ticker, event_ticker, series_ticker, open_time, close_time, settlement_ts, result,
    CAST(settlement_value AS DECIMAL(9, 6)) AS settlement_value
FROM (
    SELECT
        m.ticker, m.event_ticker, e.series_ticker, m.open_time, m.close_time, m.settlement_ts, m.result,
        m.settlement_value,
        row_number() OVER (PARTITION BY m.ticker ORDER BY m.date DESC) AS nth
    FROM markets AS m
    LEFT JOIN (
        SELECT event_ticker, max(series_ticker) AS series_ticker FROM events WHERE date >= {date} GROUP BY event_ticker
    ) AS e ON e.event_ticker = m.event_ticker
    WHERE m.date >= {date} AND m.settlement_ts >= {start} AND m.settlement_ts < {end}
) AS described
WHERE nth = 1
