"""Addresses of databases: checked, with the driver named.

Here belongs what is true of a database URL as text. Kept out: connecting, and where an address comes from.
"""

from urllib.parse import unquote

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from kalshi_platform.core.masking import masked
from kalshi_platform.database.errors import DatabaseUrlError

_SCHEMES = ("postgresql", "postgres")
_EXAMPLE = "postgresql://user:password@host:5432/database"


def checked(url: str) -> str:
    """The URL itself if its scheme is PostgreSQL's and names no driver.

    Raises:
        DatabaseUrlError: For any other text; it is not repeated, because it may hold a password.
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise DatabaseUrlError(f"a database address must look like {_EXAMPLE}")
    if scheme not in _SCHEMES:
        raise DatabaseUrlError(f"a database address must begin with postgresql://, not {scheme[:40]}://")
    return url


def sqlalchemy_url(url: str, driver: str = "asyncpg") -> URL:
    """The URL for SQLAlchemy, with the driver named: a bare postgresql:// silently means psycopg since 2.1.

    Raises:
        DatabaseUrlError: Where the address cannot be taken apart.
    """
    try:
        parsed = make_url(checked(url))
    except (ArgumentError, ValueError):  # their texts may repeat a piece of the password
        raise DatabaseUrlError(
            f"{masked(url)} cannot be read as {_EXAMPLE}; write special characters of the password as %XX"
        ) from None
    return parsed.set(drivername=f"postgresql+{driver}")


def database_name(url: str) -> str:
    """The name of the database that the URL points at; empty where it names none."""
    path = checked(url).partition("://")[2].rpartition("@")[2].partition("?")[0].partition("/")[2]
    return unquote(path)
