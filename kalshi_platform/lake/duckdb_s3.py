"""DuckDB's way to a bucket: its `httpfs` extension as PyPI carries it, loaded by path, so that nothing is downloaded.

Keys, region and endpoint come from where boto3 finds them: the AWS environment, its files, or the machine's role.
Kept out: writing, which goes through `bucket`.
"""

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb

from kalshi_platform.core.errors import ConfigurationError

_PACKAGE = "duckdb_extension_httpfs"


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
    keys = credentials.get_frozen_credentials()
    settings = {
        "s3_access_key_id": keys.access_key,
        "s3_secret_access_key": keys.secret_key,
        "s3_session_token": keys.token or "",
        "s3_region": session.region_name or "us-east-1",
    } | _endpoint(session)
    for name, value in settings.items():
        connection.execute(f"SET {name} = ?", [value])


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
    return {"s3_endpoint": parts.netloc, "s3_use_ssl": parts.scheme == "https", "s3_url_style": "path"}
