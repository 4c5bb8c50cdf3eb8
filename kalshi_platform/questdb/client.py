"""Talking with a QuestDB server: rows over ILP by its official client, statements and Parquet over HTTP.

Kept out: which rows, and when.
"""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from kalshi_platform.core.errors import ConfigurationError, PlatformError
from kalshi_platform.core.records import Row
from kalshi_platform.core.schema import STREAM_TABLES
from kalshi_platform.questdb.tables import Micros, create_statement, fields_of

_TIMEOUT_SECONDS = 60.0
_SAID_BY_SERVER = "[id: "  # how the client shows the body of a 400; its code is the same for 400 and 503
_PROTOCOLS = ("http", "https")


class QuestUnavailable(PlatformError):  # noqa: N818 - reads as a sentence where it is caught
    """QuestDB does not take or answer now; the same may succeed later."""


class QuestRefused(PlatformError):  # noqa: N818 - reads as a sentence where it is caught
    """QuestDB will not have this; the text is its own."""


class QuestClient:
    """One server; not for two threads at once.

    Args:
        configuration: As its client writes it: `http::addr=host:9000;username=…;password=…;`.

    Raises:
        ConfigurationError: The client is not installed, or the configuration is none.
    """

    def __init__(self, configuration: str) -> None:
        protocol, separator, rest = configuration.partition("::")
        options = dict(part.partition("=")[::2] for part in rest.split(";") if part)
        if not separator or protocol not in _PROTOCOLS or not options.get("addr"):
            raise ConfigurationError(
                "KALSHI_QUESTDB must read http::addr=host:9000; (https too, then username=…;password=…;)"
            )
        self.place = f"{protocol}://{options['addr']}"
        self._ingress = _ingress()
        self._configuration = f"{configuration.rstrip(';')};auto_flush=off;retry_timeout=0;"
        self._sender: Any = None
        self._http = httpx.Client(base_url=self.place, timeout=_TIMEOUT_SECONDS, **_credentials(options))
        self._has_tables = False
        self._check()

    def __repr__(self) -> str:
        return f"QuestClient({self.place!r})"

    def _check(self) -> None:
        try:
            self._ingress.Sender.from_conf(self._configuration)
        except (self._ingress.IngressError, ValueError, TypeError) as error:
            reason = str(error).partition(":")[0]  # what follows may repeat a password
            raise ConfigurationError(f"KALSHI_QUESTDB for {self.place} cannot be used: {reason}") from None

    def send(self, rows: Sequence[Row]) -> None:
        """Send rows; when this returns the server has them.

        Raises:
            QuestUnavailable: It does not answer.
            QuestRefused: It will not have them.
        """
        self.ensure_tables()
        at, micros = self._ingress.TimestampNanos, self._ingress.TimestampMicros
        try:
            if self._sender is None:
                self._sender = self._ingress.Sender.from_conf(self._configuration)
                self._sender.establish()
            for row in rows:
                table, symbols, columns, time_us = fields_of(row)
                for name, value in columns.items():
                    if isinstance(value, Micros):
                        columns[name] = micros(int(value))
                self._sender.row(table, symbols=symbols, columns=columns, at=at(time_us * 1000))
            self._sender.flush()
        except self._ingress.IngressError as error:
            self._forget_sender()
            kind = QuestRefused if _SAID_BY_SERVER in str(error) else QuestUnavailable
            raise kind(f"QuestDB at {self.place}: {error}") from None

    def ensure_tables(self) -> None:
        """Make the tables where they are missing; asks once.

        Raises:
            QuestUnavailable: It does not answer.
            QuestRefused: It will not have them.
        """
        if not self._has_tables:
            for table in STREAM_TABLES:
                self.execute(create_statement(table))
            self._has_tables = True

    def execute(self, statement: str) -> list[list[Any]]:
        """The rows that a statement answers with.

        Raises:
            QuestUnavailable: It does not answer.
            QuestRefused: It will not do this.
        """
        try:
            answer = self._http.get("/exec", params={"query": statement})
        except httpx.HTTPError as error:
            raise QuestUnavailable(f"QuestDB at {self.place}: {error or type(error).__name__}") from None
        self._require(answer.status_code, answer.text)
        rows: list[list[Any]] = answer.json().get("dataset", [])
        return rows

    def export(self, query: str, file: Path) -> None:
        """Write what a query answers as a Parquet file; needs a QuestDB whose /exp knows fmt=parquet.

        Raises:
            QuestUnavailable: It does not answer.
            QuestRefused: It will not do this.
        """
        try:
            with self._http.stream("GET", "/exp", params={"query": query, "fmt": "parquet"}) as answer:
                if not answer.is_success:
                    self._require(answer.status_code, answer.read().decode(errors="replace"))
                with file.open("wb") as target:
                    for piece in answer.iter_bytes():
                        target.write(piece)
        except httpx.HTTPError as error:
            raise QuestUnavailable(f"QuestDB at {self.place}: {error or type(error).__name__}") from None

    def reset(self) -> None:
        """Begin anew with the next rows, whatever was under way."""
        self._forget_sender()
        self._has_tables = False

    def close(self) -> None:
        """Let go of the connections; what was not sent is lost."""
        self._forget_sender()
        self._http.close()

    def _forget_sender(self) -> None:
        if self._sender is not None:
            self._sender.close(flush=False)
            self._sender = None

    def _require(self, status: int, text: str) -> None:
        if status >= 500:
            raise QuestUnavailable(f"QuestDB at {self.place} answered {status}")
        if status != 200:
            raise QuestRefused(f"QuestDB at {self.place} answered {status}: {text[:300]}")


def _credentials(options: Mapping[str, str]) -> dict[str, Any]:
    if "token" in options:
        return {"headers": {"Authorization": f"Bearer {options['token']}"}}
    return {"auth": (options["username"], options.get("password", ""))} if "username" in options else {}


def _ingress() -> Any:
    try:
        return importlib.import_module("questdb.ingress")
    except ImportError:
        raise ConfigurationError("KALSHI_QUESTDB needs its client: pip install 'kalshi-platform[questdb]'") from None
