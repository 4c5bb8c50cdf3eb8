"""SQL of the views for people: dollars, contracts and times, in the schema `people` of both kinds of database.

They show what the lake shows, under the same names. Frozen: a released migration must do the same for ever, so a
change becomes a ddl_views_v2. Kept out: who may look (the migrations).
"""

CREATE_SCHEMA = "CREATE SCHEMA people"
COMMENT_SCHEMA = (
    "COMMENT ON SCHEMA people IS 'For people: prices in dollars, sizes in contracts, times with their zone.'"
)
DROP_SCHEMA = "DROP SCHEMA people CASCADE"

_DOLLARS = "({0} * 0.000001)::numeric(9, 6) AS {0}"
_CONTRACTS = "({0} * 0.01)::numeric(18, 2) AS {0}"
_DOLLAR_LIST = "ARRAY(SELECT (one * 0.000001)::numeric(9, 6) FROM unnest({0}) AS one)::numeric(9, 6)[] AS {0}"
_CONTRACT_LIST = "ARRAY(SELECT (one * 0.01)::numeric(18, 2) FROM unnest({0}) AS one)::numeric(18, 2)[] AS {0}"


def _each(form: str, *names: str) -> str:
    return ", ".join(form.format(name) for name in names)


TRADES = f"""
CREATE VIEW people.trades AS SELECT exchange_ts, trade_id, ticker, {_each(_DOLLARS, "price")},
{_each(_CONTRACTS, "size")}, taker_side, is_block_trade, received_at FROM public.trades
"""  # noqa: S608 - names of ours
ORDERBOOK_DELTAS = f"""
CREATE VIEW people.orderbook_deltas AS SELECT exchange_ts, ticker, side, {_each(_DOLLARS, "price")},
{_each(_CONTRACTS, "size_delta")}, occurrence, position, seq, received_at FROM public.orderbook_deltas
"""  # noqa: S608 - names of ours
ORDERBOOK_SNAPSHOTS = f"""
CREATE VIEW people.orderbook_snapshots AS SELECT snapshot_ts, ticker, source, gatherer_id,
{_each(_DOLLAR_LIST, "yes_prices")}, {_each(_CONTRACT_LIST, "yes_sizes")},
{_each(_DOLLAR_LIST, "no_prices")}, {_each(_CONTRACT_LIST, "no_sizes")},
{_each(_DOLLARS, "best_yes_bid", "best_yes_ask")}, received_at FROM public.orderbook_snapshots
"""  # noqa: S608 - names of ours
TICKERS = f"""
CREATE VIEW people.tickers AS SELECT exchange_ts, ticker, {_each(_DOLLARS, "last_price", "yes_bid", "yes_ask")},
{_each(_CONTRACTS, "yes_bid_size", "yes_ask_size", "last_trade_size", "volume", "open_interest")},
dollar_volume, dollar_open_interest, digest, received_at FROM public.tickers
"""  # noqa: S608 - names of ours

BOOK_AT = """
CREATE FUNCTION people.book_at(market text, moment timestamptz)
RETURNS TABLE (ticker text, checkpoint_ts timestamptz, changed_at timestamptz, yes_prices numeric[],
               yes_sizes numeric[], no_prices numeric[], no_sizes numeric[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
    WITH checkpoint AS (
        SELECT s.ticker, s.snapshot_ts, s.yes_prices, s.yes_sizes, s.no_prices, s.no_sizes
        FROM public.orderbook_snapshots AS s
        WHERE s.ticker = market AND s.source = 'checkpoint' AND s.snapshot_ts <= moment
        ORDER BY s.snapshot_ts DESC LIMIT 1
    ), change AS (
        SELECT true AS side, level.price, level.size, NULL::timestamptz AS at
        FROM checkpoint AS c, unnest(c.yes_prices, c.yes_sizes) AS level(price, size)
        UNION ALL
        SELECT false, level.price, level.size, NULL
        FROM checkpoint AS c, unnest(c.no_prices, c.no_sizes) AS level(price, size)
        UNION ALL
        SELECT d.side, d.price, d.size_delta, d.exchange_ts
        FROM checkpoint AS c CROSS JOIN LATERAL (
            SELECT * FROM public.orderbook_deltas AS d
            WHERE d.ticker = market AND d.exchange_ts >= c.snapshot_ts AND d.exchange_ts <= moment
        ) AS d
    ), level AS (
        SELECT side, price, sum(size) AS size, max(at) AS at FROM change GROUP BY side, price
    )
    SELECT c.ticker, c.snapshot_ts, (SELECT max(at) FROM level),
           coalesce((SELECT array_agg((price * 0.000001)::numeric(9, 6) ORDER BY price)
                     FROM level WHERE side AND size <> 0), '{}'),
           coalesce((SELECT array_agg((size * 0.01)::numeric(18, 2) ORDER BY price)
                     FROM level WHERE side AND size <> 0), '{}'),
           coalesce((SELECT array_agg((price * 0.000001)::numeric(9, 6) ORDER BY price)
                     FROM level WHERE NOT side AND size <> 0), '{}'),
           coalesce((SELECT array_agg((size * 0.01)::numeric(18, 2) ORDER BY price)
                     FROM level WHERE NOT side AND size <> 0), '{}')
    FROM checkpoint AS c
$function$
"""
COMMENT_BOOK_AT = """
COMMENT ON FUNCTION people.book_at(text, timestamptz) IS
'The book of one market with every change up to and including a moment: its last checkpoint and the changes since. '
'No row where no checkpoint is known. Dollars and contracts, each side in its own frame, ascending.'
"""

LATEST_BOOK = """
CREATE VIEW people.latest_book AS
SELECT book.* FROM (SELECT DISTINCT ticker FROM public.orderbook_snapshots WHERE source = 'checkpoint') AS market
CROSS JOIN LATERAL people.book_at(market.ticker, 'infinity') AS book
"""
BEST_BID_OFFER = """
CREATE VIEW people.best_bid_offer AS
SELECT ticker, changed_at,
       yes_prices[cardinality(yes_prices)] AS yes_bid, yes_sizes[cardinality(yes_sizes)] AS yes_bid_size,
       1 - no_prices[cardinality(no_prices)] AS yes_ask, no_sizes[cardinality(no_sizes)] AS yes_ask_size
FROM people.latest_book
"""

STREAM_VIEWS = {
    "trades": TRADES,
    "orderbook_deltas": ORDERBOOK_DELTAS,
    "orderbook_snapshots": ORDERBOOK_SNAPSHOTS,
    "tickers": TICKERS,
}
"""By name: what a stream table is to people."""

COMMENT_LIKE_TABLE = """
DO $block$
DECLARE
    one record;
    said text;
BEGIN
    FOR one IN
        SELECT v.relname, a.attname, col_description(t.oid, ta.attnum) AS comment, obj_description(t.oid) AS about
        FROM pg_class AS v JOIN pg_class AS t ON t.relname = v.relname AND t.relnamespace = 'public'::regnamespace
        JOIN pg_attribute AS a ON a.attrelid = v.oid AND a.attnum > 0
        JOIN pg_attribute AS ta ON ta.attrelid = t.oid AND ta.attname = a.attname
        WHERE v.relnamespace = 'people'::regnamespace AND v.relkind = 'v'
    LOOP
        said := replace(replace(replace(one.comment, 'micro-dollars', 'dollars'),
                                'hundredths of a contract', 'contracts'), ', hundredths', '');
        EXECUTE format('COMMENT ON COLUMN people.%I.%I IS %L', one.relname, one.attname, said);
        EXECUTE format('COMMENT ON VIEW people.%I IS %L', one.relname, one.about);
    END LOOP;
END
$block$
"""
"""Each view that is named like a table says what the table says, in the units of people."""

COMMENTS = (
    "COMMENT ON VIEW people.latest_book IS 'The book of each market as it is now: its last checkpoint and every "
    "change since. Name a ticker; for all markets at once ask the lake.'",
    "COMMENT ON COLUMN people.latest_book.ticker IS 'Market ticker, the exchange''s name.'",
    "COMMENT ON COLUMN people.latest_book.checkpoint_ts IS 'The checkpoint that the book was built from.'",
    "COMMENT ON COLUMN people.latest_book.changed_at IS 'The exchange''s time of the last change since; empty: none.'",
    "COMMENT ON COLUMN people.latest_book.yes_prices IS 'Yes levels, ascending, dollars.'",
    "COMMENT ON COLUMN people.latest_book.yes_sizes IS 'Contracts at each yes level.'",
    "COMMENT ON COLUMN people.latest_book.no_prices IS 'No levels, ascending, dollars.'",
    "COMMENT ON COLUMN people.latest_book.no_sizes IS 'Contracts at each no level.'",
    "COMMENT ON VIEW people.best_bid_offer IS 'Best prices and sizes of each market as they are now, from its book. "
    "Name a ticker.'",
    "COMMENT ON COLUMN people.best_bid_offer.ticker IS 'Market ticker, the exchange''s name.'",
    "COMMENT ON COLUMN people.best_bid_offer.changed_at IS 'The exchange''s time of the book''s last change; empty: "
    "none since its checkpoint.'",
    "COMMENT ON COLUMN people.best_bid_offer.yes_bid IS 'Highest yes level, dollars; empty: none.'",
    "COMMENT ON COLUMN people.best_bid_offer.yes_bid_size IS 'Contracts at the best yes bid.'",
    "COMMENT ON COLUMN people.best_bid_offer.yes_ask IS 'One dollar less the highest no level; empty: none.'",
    "COMMENT ON COLUMN people.best_bid_offer.yes_ask_size IS 'Contracts at the best yes ask.'",
)

VIEWS = (*STREAM_VIEWS.values(), BOOK_AT, COMMENT_BOOK_AT, LATEST_BOOK, BEST_BID_OFFER)
"""What both kinds of database have, in order."""
