"""Runs migrations over a connection that `kalshi_platform.database.migrations` hands in.

There is no other way in, so that an address with its password never stands in a file, a command line or a log.
"""

from alembic import context

from kalshi_platform.core.errors import ConfigurationError

connection = context.config.attributes.get("connection")
if connection is None:
    raise ConfigurationError(
        "migrate with `kalshi-platform migrate gatherer|production`; alembic alone has no database"
    )

context.configure(connection=connection, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
