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

BTREE_GIN = """
DO $block$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'btree_gin') THEN
        RAISE EXCEPTION 'this server lacks the extension btree_gin: install PostgreSQL''s contrib modules';
    END IF;
    CREATE EXTENSION IF NOT EXISTS btree_gin;
END
$block$
"""
DROP_BTREE_GIN = """
DO $block$
BEGIN
    DROP EXTENSION IF EXISTS btree_gin;
EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege THEN
    NULL;  -- somebody else's now
END
$block$
"""

INDEX_BY_TICKER = (
    "CREATE INDEX {table}_by_ticker ON public.{table} USING gin (ticker) "
    "WITH (fastupdate = on, gin_pending_list_limit = 65536)"
)
"""Finds a market's rows, the newest included: writers leave them on a list, which is merged behind them.

Measured on 2.5 M rows of 50,000 markets, without the merging: 0.86 of the rows a second without any such index, a
B-tree 0.51; 5 bytes a row, a B-tree 89; the last five minutes of any market in under 4 ms.
"""

INDEX_RECENT = """
CREATE FUNCTION public.kalshi_index_recent(table_name text) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $function$
    SELECT coalesce(sum(gin_clean_pending_list(i.indexrelid)), 0)::bigint
    FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid JOIN pg_am AS a ON a.oid = x.relam
    JOIN pg_inherits ON inhrelid = i.indrelid JOIN pg_class AS p ON p.oid = inhparent
    JOIN pg_class AS c ON c.oid = i.indrelid
    WHERE a.amname = 'gin' AND p.relname = kalshi_index_recent.table_name
    AND p.relnamespace = 'public'::regnamespace
    AND p.relname IN ('trades', 'orderbook_deltas', 'orderbook_snapshots', 'tickers')
    AND (c.relname LIKE p.relname || '\\_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD') || '%'
         OR p.relkind = 'r'  -- a hypertable: its latest chunks
         AND c.oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = p.oid ORDER BY inhrelid DESC LIMIT 3))
$function$
"""
"""Merges what writers left aside in today's partitions into their index by ticker; returns the pages freed.

It gives up after 200 ms, because whoever waits for a vacuum for a second ends it.
"""

COMMENT_INDEX_RECENT = """
COMMENT ON FUNCTION public.kalshi_index_recent(text) IS
'Merges what writers left aside in today''s partitions of a table into their index by ticker.'
"""


def reserve(function: str) -> str:
    """SQL that takes a function from everybody; who may call it is granted one by one."""
    return f"REVOKE ALL ON FUNCTION public.{function} FROM PUBLIC"
