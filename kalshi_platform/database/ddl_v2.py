"""SQL that the second migrations of both branches share: partitions by day or hour as the policies say.

Frozen: a released migration must do the same for ever, so a change becomes a ddl_v3. Kept out: tables, and views
(`ddl_views_v1`).
"""

ENSURE_PARTITION = """
CREATE OR REPLACE FUNCTION public.kalshi_ensure_partition(table_name text, day date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    prefix text := kalshi_ensure_partition.table_name || '_' || to_char(day, 'YYYYMMDD');
    midnight timestamptz := day::timestamp AT TIME ZONE 'UTC';
    hours int;
    there text[];
    child text;
    made boolean := false;
BEGIN
    IF table_name IS NULL OR table_name NOT IN ('trades', 'orderbook_deltas', 'orderbook_snapshots', 'tickers') THEN
        RAISE EXCEPTION 'kalshi_ensure_partition: % is not a table with partitions', coalesce(table_name, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF day IS NULL OR day NOT BETWEEN DATE '2020-01-01' AND DATE '2099-12-31' THEN
        RAISE EXCEPTION 'kalshi_ensure_partition: no partition for the day %', coalesce(day::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- a hypertable makes its chunks by itself
    IF NOT EXISTS (SELECT FROM pg_class AS c WHERE c.relname = kalshi_ensure_partition.table_name
                   AND c.relkind = 'p' AND c.relnamespace = 'public'::regnamespace) THEN
        RETURN false;
    END IF;
    -- the catalogs are read as tables: to_regclass would go by what this session remembers from before the lock
    FOR attempt IN 1..2 LOOP
        there := ARRAY(SELECT c.relname::text FROM pg_inherits
                       JOIN pg_class AS c ON c.oid = inhrelid JOIN pg_class AS p ON p.oid = inhparent
                       WHERE p.relname = kalshi_ensure_partition.table_name
                       AND p.relnamespace = 'public'::regnamespace AND c.relnamespace = p.relnamespace
                       AND (c.relname = prefix OR c.relname LIKE replace(prefix, '_', '\\_') || '\\___'));
        IF prefix = ANY (there) OR cardinality(there) = 24 THEN
            RETURN false;
        END IF;
        PERFORM pg_advisory_xact_lock(hashtext('kalshi_ensure_partition'), hashtext(table_name));
    END LOOP;
    hours := CASE WHEN cardinality(there) > 0 THEN 1 ELSE coalesce(
        (SELECT p.partition_hours FROM public.table_policies AS p
         WHERE p.table_name = kalshi_ensure_partition.table_name), 24) END;
    FOR hour IN 0..23 BY hours LOOP
        child := CASE WHEN hours = 24 THEN prefix ELSE prefix || '_' || lpad(hour::text, 2, '0') END;
        CONTINUE WHEN child = ANY (there);
        -- not PARTITION OF: that would lock out everybody who reads or writes the table, ATTACH lets them go on
        EXECUTE format('CREATE TABLE public.%I (LIKE public.%I INCLUDING ALL)', child, table_name);
        EXECUTE format('ALTER TABLE public.%I ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
            table_name, child,
            midnight + make_interval(hours => hour), midnight + make_interval(hours => hour + hours));
        made := true;
    END LOOP;
    RETURN made;
END
$function$
"""
"""Makes the partitions of one UTC day unless they are there; true if it made any. One of a day, or 24 of an hour."""

COMMENT_ENSURE_PARTITION = """
COMMENT ON FUNCTION public.kalshi_ensure_partition(text, date) IS
'Makes the partitions of one UTC day of a stream table unless they are there; true if it made any. '
'One of a day or 24 of an hour, as table_policies says; a day that has been begun is finished as it was begun.'
"""

COMMENT_ENSURE_PARTITION_V1 = """
COMMENT ON FUNCTION public.kalshi_ensure_partition(text, date) IS
'Makes the partition of one UTC day of a stream table unless it is there; true if it made it.'
"""

MARK_RECENT = (
    "CREATE INDEX {table}_recent ON public.{table} USING brin "
    "(ticker text_bloom_ops (n_distinct_per_range = 1500, false_positive_rate = 0.01), {time}) "
    "WITH (pages_per_range = 32, autosummarize = on)"
)
"""Finds a market's rows in the open partition at no cost to writers: they only append, ranges are marked behind them.

Measured on 5 M rows of 50,000 markets: COPY as fast as without it (a B-tree by ticker: 0.6 of that), 4 MB against
445 MB, and the last five minutes of a market in under 10 ms whatever its share of the traffic.
"""

SUMMARIZE = """
CREATE FUNCTION public.kalshi_mark_recent(table_name text) RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $function$
    SELECT coalesce(sum(brin_summarize_new_values(i.indexrelid)), 0)::integer
    FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid JOIN pg_am AS a ON a.oid = x.relam
    JOIN pg_inherits ON inhrelid = i.indrelid JOIN pg_class AS p ON p.oid = inhparent
    JOIN pg_class AS c ON c.oid = i.indrelid
    WHERE a.amname = 'brin' AND p.relname = kalshi_mark_recent.table_name
    AND p.relnamespace = 'public'::regnamespace
    AND p.relname IN ('trades', 'orderbook_deltas', 'orderbook_snapshots', 'tickers')
    AND c.relname LIKE p.relname || '\\_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD') || '%'
$function$
"""
"""Marks what was appended to today's partitions, so that `<table>_recent` finds it; returns the new ranges.

It gives up after 200 ms, because whoever waits for a vacuum for a second ends it.
"""

COMMENT_SUMMARIZE = """
COMMENT ON FUNCTION public.kalshi_mark_recent(text) IS
'Marks what was appended to today''s partitions of a table, so that its index of recent rows finds it quickly.'
"""


def reserve(function: str) -> str:
    """SQL that takes a function from everybody; who may call it is granted one by one."""
    return f"REVOKE ALL ON FUNCTION public.{function} FROM PUBLIC"
