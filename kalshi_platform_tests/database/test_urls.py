import pytest

from kalshi_platform.core.masking import masked
from kalshi_platform.database.errors import DatabaseUrlError
from kalshi_platform.database.urls import checked, database_name, sqlalchemy_url


def test_driver_is_named() -> None:
    """SQLAlchemy 2.1 takes a bare postgresql:// for psycopg, so no URL goes to it without a driver."""
    url = sqlalchemy_url("postgres://user:p%25w%40x@host:5433/some%20base?sslmode=require")
    assert url.drivername == "postgresql+asyncpg"
    assert url.password == "p%w@x"
    assert (url.host, url.port, url.database) == ("host", 5433, "some base")
    assert "p%w@x" not in f"{url} {url!r}"
    assert sqlalchemy_url("postgresql://host/base", driver="psycopg").drivername == "postgresql+psycopg"


@pytest.mark.parametrize(
    "text",
    ["", "secret", "mysql://u:secret@h/d", "postgresql+psycopg://u:secret@h/d", "sqlite:///secret", "http://secret"],
)
def test_other_addresses_are_refused_without_repeating_them(text: str) -> None:
    """Whatever is given may hold a password, so only the scheme is repeated."""
    with pytest.raises(DatabaseUrlError) as caught:
        checked(text)
    assert "secret" not in str(caught.value)
    assert "postgresql://" in str(caught.value)


def test_broken_address_does_not_show_its_password() -> None:
    """A password with unescaped signs makes a wrong port; neither text nor cause may repeat it."""
    with pytest.raises(DatabaseUrlError, match="%XX") as caught:
        sqlalchemy_url("postgresql://user:sec/ret:x@host:port/base")
    error: BaseException | None = caught.value
    assert error is not None
    assert "sec" not in str(error)
    assert error.__cause__ is None
    assert error.__suppress_context__


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:p@h:1/d", "postgresql://u:***@h:1/d"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("postgresql://h/d", "postgresql://h/d"),
        ("postgresql://u:p/q@r@h/d", "postgresql://u:***@h/d"),
        ("postgresql://h/d?password=p&sslmode=require", "postgresql://h/d?password=***&sslmode=require"),
        ("p", "***"),
    ],
)
def test_masked(url: str, shown: str) -> None:
    """The password is hidden wherever it stands, even where it should have been escaped."""
    assert masked(url) == shown


def test_database_name() -> None:
    """The name is what follows the host, unescaped."""
    assert database_name("postgresql://u:p@h:1/my%20base?sslmode=require") == "my base"
    assert database_name("postgresql://h") == ""
