"""SQL of coverage: who listened to a market in an interval, and when nobody did without a gap.

Frozen: a released migration must do the same for ever, so a change becomes a ddl_coverage_v2. Kept out: the tables
that hold the result by hour, and filling them.
"""

COVERAGE = """
CREATE FUNCTION public.kalshi_coverage(stream text, since timestamptz, until timestamptz)
RETURNS TABLE (ticker text, gatherers text[], heard tstzmultirange, uncovered tstzmultirange)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
WITH merged AS (
    SELECT gatherer_id, watermark FROM public.sync_cursors
    WHERE table_name = CASE stream WHEN 'orderbook_delta' THEN 'orderbook_deltas'
                                   WHEN 'trade' THEN 'trades' WHEN 'ticker' THEN 'tickers' END
), sessions AS MATERIALIZED (
    -- a session that nobody ended reaches as far as its gatherer has been merged
    SELECT s.ticker, s.gatherer_id, s.connection, s.started_at, s.ended_by,
           greatest(s.started_at, coalesce(s.ended_at, m.watermark, s.started_at)) AS ended_at
    FROM public.capture_sessions AS s LEFT JOIN merged AS m USING (gatherer_id) WHERE s.channel = stream
), holes AS MATERIALIZED (
    SELECT g.gatherer_id, g.connection, g.ticker,
           range_agg(tstzrange(g.from_at, greatest(g.from_at, coalesce(g.until_at, 'infinity')))) AS missed
    FROM public.capture_gaps AS g
    WHERE g.channel = stream AND g.from_at < until AND coalesce(g.until_at, 'infinity') > since
    AND g.healed_by IS DISTINCT FROM 'late frames' GROUP BY 1, 2, 3
), known AS MATERIALIZED (
    SELECT s.ticker, min(s.started_at) AS first_at, max(s.ended_at) AS last_at,
           max(s.ended_at) FILTER (WHERE s.ended_by = 'unsubscribed') AS left_at
    FROM sessions AS s GROUP BY 1
), targets AS MATERIALIZED (
    SELECT k.ticker, k.first_at, k.last_at, k.left_at FROM known AS k
    UNION ALL  -- a channel of every market, one of which has holes of its own
    SELECT DISTINCT h.ticker, k.first_at, k.last_at, k.left_at FROM holes AS h, known AS k
    WHERE k.ticker = '' AND h.ticker <> '' AND NOT EXISTS (SELECT FROM known AS o WHERE o.ticker = h.ticker)
), expected AS (
    SELECT t.ticker, tstzmultirange(tstzrange(since, until)) * tstzmultirange(tstzrange(begins, greatest(begins, ends)))
           AS span
    FROM targets AS t LEFT JOIN public.markets AS m ON m.ticker = t.ticker,
         LATERAL (SELECT greatest(CASE WHEN t.ticker = '' THEN t.first_at ELSE coalesce(m.open_time, t.first_at) END,
                                  (SELECT min(first_at) FROM known)) AS begins,
                         least(m.close_time, CASE WHEN t.left_at >= t.last_at THEN t.last_at END, 'infinity') AS ends
                 ) AS life
), parts AS (
    SELECT s.ticker, s.gatherer_id, s.connection, s.started_at, s.ended_at FROM sessions AS s
    WHERE s.started_at < until AND s.ended_at > since
    UNION ALL
    SELECT t.ticker, s.gatherer_id, s.connection, s.started_at, s.ended_at
    FROM sessions AS s, targets AS t
    WHERE s.ticker = '' AND t.ticker <> '' AND s.started_at < until AND s.ended_at > since
), whole AS (
    SELECT p.ticker, array_agg(DISTINCT p.gatherer_id ORDER BY p.gatherer_id) AS gatherers,
           range_agg(tstzmultirange(tstzrange(greatest(p.started_at, since), least(p.ended_at, until)))
                     - coalesce(a.missed, '{}') - coalesce(o.missed, '{}')) AS heard
    FROM parts AS p
    LEFT JOIN holes AS a ON (a.gatherer_id, a.connection, a.ticker) = (p.gatherer_id, p.connection, '')
    LEFT JOIN holes AS o ON (o.gatherer_id, o.connection, o.ticker) = (p.gatherer_id, p.connection, p.ticker)
                            AND p.ticker <> ''
    GROUP BY 1
)
SELECT e.ticker, coalesce(w.gatherers, '{}'), coalesce(w.heard, '{}'), e.span - coalesce(w.heard, '{}')
FROM expected AS e LEFT JOIN whole AS w USING (ticker)
WHERE NOT isempty(e.span) OR w.heard IS NOT NULL
$function$
"""
"""For each market of a channel: who listened in [since, until), when it was heard whole by anybody, and when not.

A market is expected from its opening, or from when it was first heard, but not before anybody listened to anything;
until its close, or until everybody has left it on purpose. Needs PostgreSQL 15.
"""

COMMENT_COVERAGE = """
COMMENT ON FUNCTION public.kalshi_coverage(text, timestamptz, timestamptz) IS
'Markets of a channel (orderbook_delta, trade, ticker; an empty ticker is every market): who listened in '
'[since, until), when anybody heard it without a gap, and when nobody did though it was open.'
"""

DROP_COVERAGE = "DROP FUNCTION public.kalshi_coverage(text, timestamptz, timestamptz)"
