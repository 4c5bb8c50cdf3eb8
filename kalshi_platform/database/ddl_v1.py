"""SQL that the first migrations of both branches share: the partition function, and making and dropping roles.

Frozen: a released migration must do the same for ever, so a change becomes a ddl_v2. Kept out: tables, which each
migration spells out itself.
"""

ENSURE_PARTITION = """
CREATE FUNCTION public.kalshi_ensure_partition(table_name text, day date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    child text;
BEGIN
    IF table_name IS NULL OR table_name NOT IN ('trades', 'orderbook_deltas', 'orderbook_snapshots', 'tickers') THEN
        RAISE EXCEPTION 'kalshi_ensure_partition: % is not a table with partitions', coalesce(table_name, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF day IS NULL OR day NOT BETWEEN DATE '2020-01-01' AND DATE '2099-12-31' THEN
        RAISE EXCEPTION 'kalshi_ensure_partition: no partition for the day %', coalesce(day::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    child := table_name || '_' || to_char(day, 'YYYYMMDD');
    -- the catalogs are read as tables: to_regclass would go by what this session remembers from before the lock
    FOR attempt IN 1..2 LOOP
        IF EXISTS (SELECT FROM pg_inherits
                   JOIN pg_class AS c ON c.oid = inhrelid JOIN pg_class AS p ON p.oid = inhparent
                   WHERE c.relname = child AND p.relname = table_name
                   AND c.relnamespace = p.relnamespace AND p.relnamespace = 'public'::regnamespace) THEN
            RETURN false;
        END IF;
        PERFORM pg_advisory_xact_lock(hashtext('kalshi_ensure_partition'), hashtext(table_name));
    END LOOP;
    -- not PARTITION OF: that would lock out everybody who reads or writes the table, ATTACH lets them go on
    EXECUTE format('CREATE TABLE public.%I (LIKE public.%I INCLUDING ALL)', child, table_name);
    EXECUTE format('ALTER TABLE public.%I ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)', table_name, child,
        to_char(day, 'YYYY-MM-DD') || ' 00:00:00+00', to_char(day + 1, 'YYYY-MM-DD') || ' 00:00:00+00');
    RETURN true;
END
$function$
"""
"""Makes the partition of one UTC day unless it is there; true if it made it. Safe for several sessions at once."""

COMMENT_ENSURE_PARTITION = """
COMMENT ON FUNCTION public.kalshi_ensure_partition(text, date) IS
'Makes the partition of one UTC day of a stream table unless it is there; true if it made it.'
"""

RESERVE_ENSURE_PARTITION = "REVOKE ALL ON FUNCTION public.kalshi_ensure_partition(text, date) FROM PUBLIC"

DROP_ENSURE_PARTITION = "DROP FUNCTION public.kalshi_ensure_partition(text, date)"


def create_role(role: str) -> str:
    """SQL that makes a group role unless it is there; roles belong to the whole cluster, others may make it too."""
    return f"""
DO $block$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
        CREATE ROLE {role} NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;  -- another migration was faster
END
$block$
"""


def grant_temporary(role: str) -> str:
    """SQL that lets a role stage rows in temporary tables of this database."""
    return _on_this_database(f"GRANT TEMPORARY ON DATABASE %I TO {role}")


def revoke_database(role: str) -> str:
    """SQL that takes a role's rights on this database itself."""
    return _on_this_database(f"REVOKE ALL ON DATABASE %I FROM {role}")


def drop_role(role: str) -> str:
    """SQL that drops a group role unless it has members, or rights in another database of the cluster."""
    return f"""
DO $block$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_auth_members JOIN pg_roles ON pg_roles.oid = roleid JOIN pg_roles AS who
                   ON who.oid = member WHERE pg_roles.rolname = '{role}' AND who.rolname <> current_user) THEN
        DROP ROLE IF EXISTS {role};
    END IF;
EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege THEN
    NULL;  -- somebody else's now
END
$block$
"""


def _on_this_database(statement: str) -> str:
    return f"DO $block$ BEGIN EXECUTE format('{statement}', current_database()); END $block$"
