"""What the database room refuses, in plain words.

PlatformError
├── ConfigurationError
│   ├── DatabaseUrlError          the address of a database cannot be used
│   ├── UnsafeServerError         the server is too old, or has an extension that loses rows: update it
│   └── RevisionError             the database does not carry the schema that this version works with
│       ├── OutdatedDatabaseError     no schema yet, or an earlier one: migrate it
│       ├── UnknownRevisionError      a later schema than this version knows: update the platform
│       └── OtherHomeError            the schema of the other kind of database: check the address
├── DatabaseUnreachableError      no answer, or no entry: wrong address, password, or the server is down
├── ForeignRowsError              a gatherer's rows came out of a dump and wait to be renumbered: it passes
├── UnencodableValueError         a value does not fit its column; nothing was sent
├── RowRefusedError               the database will not have a row for its content; it is kept in rejected_messages
└── SpoolError                    the spool on disk cannot be written or read now
    ├── SpoolFullError                it holds as much as it may
    └── SpoolLayoutError              another version of the platform left rows that this one cannot place

None of them ever carries a password.
"""

from kalshi_platform.core.errors import ConfigurationError, PlatformError


class DatabaseUrlError(ConfigurationError):
    """The address of a database cannot be used."""


class DatabaseUnreachableError(PlatformError):
    """The database does not answer, or does not let us in."""


class ForeignRowsError(PlatformError):
    """A gatherer's database was replaced by a dump; nothing is written until its rows are renumbered."""


class UnsafeServerError(ConfigurationError):
    """The server is too old for our schema, or has an extension that is known to lose rows of ours."""


class RevisionError(ConfigurationError):
    """The database does not carry the schema that this version works with."""


class OutdatedDatabaseError(RevisionError):
    """The database has no schema yet, or an earlier one."""


class UnknownRevisionError(RevisionError):
    """The database carries a schema that this version does not know, most likely a later one."""


class OtherHomeError(RevisionError):
    """The database carries the schema of the other kind of database."""


class UnencodableValueError(PlatformError):
    """A value does not fit its column; raised before anything is sent.

    Attributes:
        table: Name of the table.
        column: Name of the column.
        row: Index of the row among those given.
    """

    def __init__(self, table: str, column: str, row: int, reason: str) -> None:
        super().__init__(f"{table}.{column}, row {row}: {reason}")
        self.table = table
        self.column = column
        self.row = row


class RowRefusedError(PlatformError):
    """The database will not have a row for its content; it is kept in `rejected_messages`."""


class SpoolError(PlatformError):
    """The spool on disk cannot be written or read now."""


class SpoolFullError(SpoolError):
    """The spool holds as much as it may."""


class SpoolLayoutError(SpoolError):
    """Rows in the spool have columns that this version cannot place."""
