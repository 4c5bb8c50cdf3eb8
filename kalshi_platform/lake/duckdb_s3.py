"""DuckDB's way to a bucket: its `httpfs` extension as PyPI carries it, loaded by path, so that nothing is downloaded.

Keys, region and endpoint come from where boto3 finds them: the AWS environment, its files, or the machine's role. Keys
of a role live for an hour; a thread hands the connection new ones for as long as there is a connection, so that plain
SQL goes on too. Kept out: writing, which goes through `bucket`.
"""

import re
import threading
import weakref
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from warnings import warn

import duckdb

from kalshi_platform.core.errors import ConfigurationError

_PACKAGE = "duckdb_extension_httpfs"
_LOOK_SECONDS = 20.0
"""How often keys that expire are looked at; boto3 renews them ten to fifteen minutes before their end."""


def open_bucket(connection: duckdb.DuckDBPyConnection) -> None:
    """Let a connection read `s3://` addresses.

    Raises:
        ConfigurationError: This DuckDB has no such extension beside it, or there is no key.
    """
    import boto3  # not needed where the lake is a folder

    connection.execute(f"LOAD '{_extension()}'")

    session = boto3.session.Session()
    credentials = session.get_credentials()
    if credentials is None:
        raise ConfigurationError(
            "no key for the bucket: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give a role"
        )
    store = {"region": session.region_name or "us-east-1"} | _endpoint(session)
    keys = credentials.get_frozen_credentials()
    _hand_over(connection, keys, store)
    if hasattr(credentials, "refresh_needed"):
        closed = threading.Event()
        weakref.finalize(connection, closed.set)
        about = (weakref.ref(connection), closed, credentials, keys, store)
        threading.Thread(target=_keep_valid, args=about, name="lake-keys", daemon=True).start()


def _hand_over(connection: duckdb.DuckDBPyConnection, keys: Any, store: dict[str, str | bool]) -> None:
    """Let every connection to the same database use these keys from now on."""
    options = {"key_id": keys.access_key, "secret": keys.secret_key} | store
    if keys.token:
        options["session_token"] = keys.token
    words = ", ".join(f"{name} ?" for name in options)
    connection.execute(f"CREATE OR REPLACE SECRET kalshi_lake (TYPE s3, {words})", list(options.values()))


def _keep_valid(
    find: "weakref.ref[duckdb.DuckDBPyConnection]",
    closed: threading.Event,
    credentials: Any,
    keys: Any,
    store: dict[str, str | bool],
) -> None:
    """Hand over new keys until the connection is gone."""
    while not closed.wait(_LOOK_SECONDS):
        connection = find()
        if connection is None:
            return
        try:
            with connection.cursor() as cursor:
                latest = credentials.get_frozen_credentials()
                if latest != keys:
                    _hand_over(cursor, latest, store)
                    keys = latest
        except duckdb.ConnectionException:  # it was closed
            return
        except Exception as error:  # whoever gives keys is away, in whatever words: the old ones may still do
            warn(f"new keys for the bucket cannot be had ({type(error).__name__}), trying again", stacklevel=1)
        finally:
            del connection  # or it would never be gone


def _extension() -> Path:
    """The file of the extension that belongs to this DuckDB."""
    if find_spec(_PACKAGE) is None:
        raise ConfigurationError(
            "to read a bucket, DuckDB needs its extension: pip install duckdb-extension-httpfs==1.5.5"
        )
    folder = Path(str(import_module(_PACKAGE).__file__)).parent
    path = folder / "extensions" / f"v{duckdb.__version__}" / "httpfs.duckdb_extension"
    if not path.exists():
        raise ConfigurationError(
            f"PyPI has no S3 extension for DuckDB {duckdb.__version__}: read buckets with 1.5.5, or copy the files"
        )
    return path


def _endpoint(session: Any) -> dict[str, str | bool]:
    """Another store than AWS, where the environment or a file names one."""
    parts = urlsplit(str(session.client("s3").meta.endpoint_url))
    if re.search(r"\.amazonaws\.com(\.cn)?$", parts.netloc):
        return {}
    return {"endpoint": parts.netloc, "use_ssl": parts.scheme == "https", "url_style": "path"}
