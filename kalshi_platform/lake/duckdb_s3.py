"""DuckDB's way to a bucket: its `httpfs` extension as PyPI carries it, loaded by path, so that nothing is downloaded.

Keys, region and endpoint come from where boto3 finds them: the AWS environment, its files, or the machine's role.
Kept out: writing, which goes through `bucket`.
"""

import os
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import duckdb

from kalshi_platform.core.errors import ConfigurationError

_PACKAGE = "duckdb_extension_httpfs"


def open_bucket(connection: duckdb.DuckDBPyConnection) -> None:
    """Let a connection read `s3://` addresses.

    Raises:
        ConfigurationError: This DuckDB has no such extension beside it, or there is no key.
    """
    connection.execute(f"LOAD '{_extension()}'")

    import boto3

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
    } | _endpoint()
    for name, value in settings.items():
        connection.execute(f"SET {name} = ?", [value])


def _extension() -> Path:
    """The file of the extension that belongs to this DuckDB."""
    if find_spec(_PACKAGE) is None:
        raise ConfigurationError("to read a bucket, install the extra: pip install 'kalshi-platform[s3]'")
    folder = Path(str(import_module(_PACKAGE).__file__)).parent
    path = folder / "extensions" / f"v{duckdb.__version__}" / "httpfs.duckdb_extension"
    if not path.exists():
        raise ConfigurationError(
            f"PyPI has no S3 extension for DuckDB {duckdb.__version__}: read buckets with 1.5.5, or copy the files"
        )
    return path


def _endpoint() -> dict[str, str | bool]:
    """Another store than AWS, where the environment names one."""
    url = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not url:
        return {}
    parts = urlsplit(url)
    return {"s3_endpoint": parts.netloc, "s3_use_ssl": parts.scheme == "https", "s3_url_style": "path"}
