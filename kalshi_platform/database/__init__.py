"""PostgreSQL: tables, migrations, partitions, roles, and rows in and out at COPY speed.

Here belongs everything that speaks SQL of the market databases. Kept out: where rows come from and what they mean
(core), when to write or merge them (the daemons), and Dagster's own storage, which never shares a database with us.
asyncpg is the driver; only `export` reads with ADBC, which hands out Arrow.
"""
