"""An S3 bucket, or any store that speaks S3: reached as every AWS tool reaches it, and its errors in plain words.

Keys, region and endpoint come from the ordinary AWS environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
`AWS_DEFAULT_REGION`, `AWS_ENDPOINT_URL`), its files or the machine's role: this platform has no settings of its own
for them. Imported only where the lake is in a bucket, because boto3 takes a third of a second. Kept out: which objects
there are (`layout`).
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile, gettempdir
from typing import IO, Any

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pyarrow import fs

from kalshi_platform.lake.publish import CountedFile, StorageError, plain_words

_PARTS = TransferConfig(multipart_threshold=8 * 2**20, multipart_chunksize=8 * 2**20, max_concurrency=4)
_CONNECT_SECONDS, _READ_SECONDS, _ATTEMPTS = 10, 60, 4
_UNREACHABLE = "the store at {endpoint} cannot be reached: check the network and AWS_ENDPOINT_URL"
_REASONS = {  # parts of what boto3 and Arrow say, letters only, and what to do
    "nosuchbucket": "the bucket {bucket} does not exist: make it, or set KALSHI_LAKE_URL to one that does",
    "signaturedoesnotmatch": "the store refuses the secret key: check AWS_SECRET_ACCESS_KEY and this machine's clock",
    "invalidaccesskeyid": "the store does not know the key: check AWS_ACCESS_KEY_ID",
    "unabletolocatecredentials": "there is no key: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give a role",
    "accessdenied": "the key may not do this: it needs s3:ListBucket, s3:GetObject, s3:PutObject and "
    "s3:DeleteObject on {bucket}",
    "checksumsmismatch": "the store's checksums are not those of what it sends; where it is no AWS, set "
    "AWS_RESPONSE_CHECKSUM_VALIDATION=when_required",
    "networkconnection": _UNREACHABLE,
    "couldnotconnect": _UNREACHABLE,
    "connectionwasclosed": _UNREACHABLE,
    "timeout": _UNREACHABLE,
}


class Bucket:
    """One bucket.

    Args:
        name: Its name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._session = boto3.session.Session()
        self._endpoint = self._custom_endpoint()
        self.filesystem: fs.FileSystem = fs.S3FileSystem(
            endpoint_override=self._endpoint,
            region=self._session.region_name,
            connect_timeout=_CONNECT_SECONDS,
            request_timeout=_READ_SECONDS,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
        )

    @contextmanager
    def replacing(self, key: str) -> Iterator[CountedFile]:
        """A file that takes the place of an object when the block ends well; it is made on this machine's disk first.

        Until its upload is complete, readers see what was there before. Not written straight into the bucket by
        Arrow: its stream completes the object when a block fails, and even when it is forgotten, so that half a file
        would stand under the final name.

        Raises:
            StorageError: Where the store cannot be reached or refuses, or this disk has no room.
        """
        with (
            plain_words(f"s3://{self.name}/{key}", f"{gettempdir()}, or set TMPDIR"),
            TemporaryFile(prefix="kalshi-lake-") as file,
        ):
            yield CountedFile(file)
            file.seek(0)
            self._upload(file, key)

    def remove(self, key: str) -> None:
        """Take an object away, if there is one; Arrow would leave an empty object in the place of its folder.

        Raises:
            StorageError: Where the store cannot be reached or refuses.
        """
        with self.plain_words(f"cannot remove s3://{self.name}/{key}"):
            self._client().delete_object(Bucket=self.name, Key=key)

    def require(self) -> None:
        """Make sure that the bucket is there: listing one that is not looks like an empty one.

        Raises:
            StorageError: Where it is not.
        """
        with self.plain_words(f"cannot list s3://{self.name}"):
            if self.filesystem.get_file_info(self.name).type is fs.FileType.NotFound:
                raise OSError("NoSuchBucket")

    @contextmanager
    def plain_words(self, what: str) -> Iterator[None]:
        """Errors of boto3 and Arrow within the block as `StorageError`; that a file is missing stays as it is.

        Args:
            what: What could not be done.
        """
        try:
            yield
        except FileNotFoundError:
            raise
        except (OSError, BotoCoreError, ClientError, Boto3Error) as error:
            raise StorageError(f"{what}: {self._reason(str(error))}") from None  # what AWS says may name keys

    def _upload(self, file: IO[bytes], key: str) -> None:
        with self.plain_words(f"cannot write s3://{self.name}/{key}"):
            self._client().upload_fileobj(file, self.name, key, Config=_PARTS)

    def _client(self) -> Any:
        config = Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
            s3={"addressing_style": "path" if self._endpoint else "auto"},
        )
        return self._session.client("s3", config=config)

    def _custom_endpoint(self) -> str | None:
        """Where the environment or a file says the store is; None for AWS itself."""
        endpoint = str(self._session.client("s3").meta.endpoint_url)
        return None if re.search(r"\.amazonaws\.com(\.cn)?/?$", endpoint) else endpoint

    def _reason(self, text: str) -> str:
        letters = re.sub("[^a-z]", "", text.lower())
        for part, reason in _REASONS.items():
            if part in letters:
                return reason.format(bucket=self.name, endpoint=self._endpoint or "AWS")
        credentials = self._session.get_credentials()
        for secret in filter(None, (credentials.secret_key, credentials.token) if credentials else ()):
            text = text.replace(secret, "***")
        return text
