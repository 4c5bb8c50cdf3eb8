"""Checks: whether the record is whole, the lake is the record, and both are believable.

One module a family: `parity` and `files` look at files, `books`, `trades` and `coverage` at the record, `reference` and
`candles` at the exchange, `freshness` at the clock. Each module ends in one list.

- Add here: checks that look at assets of this location.
- Keep out: repairing what they find, and SQL (`database.quality`, `lake.quality`).
- Blocking are those that say that a *file* is wrong: nothing may be made from it, and making it again heals it. Those
  that say that the *record* lacks something do not block: no second export brings it back, and every other market of
  that hour is right.
- Each partition has a verdict of its own (`partitioned`), also where a run looks at several.
- Dagster's word: asset checks, https://docs.dagster.io/guides/test/asset-checks
"""
