"""What of QuestDB its users here need, on loopback, strict: ILP over HTTP, statements, Parquet. Not QuestDB itself.

Lines are parsed to the letter of the protocol and held against the types of the tables that were made; what does not
fit is refused as the real server does, with 400. Rows are kept once a deduplication key.
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

_CREATE = re.compile(
    r"CREATE TABLE IF NOT EXISTS (\w+) \((.*)\) TIMESTAMP\((\w+)\) PARTITION BY DAY WAL DEDUP UPSERT KEYS\((.*)\)"
)
_WINDOW = re.compile(r"SELECT (.*) FROM (\w+) WHERE \w+ >= '(.*?)' AND \w+ < '(.*?)'")
_DROP = re.compile(r"ALTER TABLE (\w+) DROP PARTITION LIST '(.*)'")
_NAME = re.compile(r"((?:[^ ,=\\]|\\.)+)")
_VALUE = re.compile(r'"((?:[^"\\]|\\.)*)"|(-?\d+)i|(-?\d+)t|([tfTF])')
_ARROW = {"SYMBOL": pa.dictionary(pa.int32(), pa.string()), "LONG": pa.int64(), "BOOLEAN": pa.bool_(),
          "UUID": pa.string(), "VARCHAR": pa.string(), "TIMESTAMP": pa.timestamp("us")}  # fmt: skip


class Refused(Exception):  # noqa: N818 - what the server says
    """A line or statement that the server will not have."""


@dataclass
class Table:
    """One table: types by column, its time, its keys, its rows by key."""

    types: dict[str, str]
    time: str
    keys: list[str]
    rows: dict[tuple[Any, ...], dict[str, Any]] = field(default_factory=dict)


@dataclass
class Server:
    """What it holds, and how it behaves."""

    tables: dict[str, Table] = field(default_factory=dict)
    is_away: bool = False
    lines: int = 0
    port: int = 0

    @property
    def configuration(self) -> str:
        """For the client."""
        return f"http::addr=127.0.0.1:{self.port};"

    def execute(self, statement: str) -> list[list[Any]]:
        """A statement's answer."""
        if made := _CREATE.fullmatch(statement):
            name, columns, time, keys = made.groups()
            types = {part.split()[0]: part.split()[1] for part in columns.split(", ")}
            if types[time] != "TIMESTAMP" or time not in keys.split(", "):
                raise Refused("deduplication keys must include the designated timestamp")
            self.tables.setdefault(name, Table(types, time, keys.split(", ")))
            return []
        if dropped := _DROP.fullmatch(statement):
            table = self.tables[dropped[1]]
            table.rows = {key: row for key, row in table.rows.items() if f"{row[table.time]:%Y-%m-%d}" != dropped[2]}
            return []
        return [[len(self.window(statement)[1])]]

    def window(self, query: str) -> tuple[Table, list[dict[str, Any]]]:
        """The rows that a query means."""
        found = _WINDOW.fullmatch(query)
        if found is None or found[2] not in self.tables:
            raise Refused(f"unexpected statement: {query}")
        table = self.tables[found[2]]
        first, last = (datetime.fromisoformat(text) for text in found.groups()[2:])
        return table, [row for row in table.rows.values() if first <= row[table.time] < last]

    def parquet(self, query: str) -> bytes:
        """The same rows as a file."""
        table, rows = self.window(query)
        selected = query.split("SELECT ")[1].split(" FROM ")[0].split(", ")
        names = [re.sub(r"::varchar AS \w+", "", name) for name in selected]
        columns = {}
        for name in names:
            values = [row.get(name) for row in rows]
            if table.types[name] == "TIMESTAMP":
                values = [None if one is None else one.replace(tzinfo=None) for one in values]
            columns[name] = pa.array(values, _ARROW[table.types[name]])
        file = BytesIO()
        pq.write_table(pa.table(columns), file)
        return file.getvalue()

    def take(self, text: str) -> None:
        """Lines; all of them or none."""
        rows = [self.line(line) for line in text.removesuffix("\n").split("\n")]
        for name, row in rows:
            table = self.tables[name]
            table.rows[tuple(row.get(key) for key in table.keys)] = row
        self.lines += len(rows)

    def line(self, line: str) -> tuple[str, dict[str, Any]]:
        """One line of the protocol."""
        name, position = self._name(line, 0)
        if name not in self.tables:
            raise Refused(f"no table {name}")
        types, row = self.tables[name].types, dict[str, Any]()
        while line[position : position + 1] == ",":
            symbol, position = self._name(line, position + 1)
            if line[position] != "=" or types.get(symbol) != "SYMBOL":
                raise Refused(f"{symbol} is no symbol of {name}")
            row[symbol], position = self._name(line, position + 1)
        while line[position] in " ,":
            if re.fullmatch(r" \d+", line[position:]):
                break
            column, position = self._name(line, position + 1)
            value = _VALUE.match(line, position + 1)
            if line[position] != "=" or value is None:
                raise Refused(f"no value of {column}: {line[position:][:40]}")
            row[column], position = self._typed(value, types[column], column), value.end()
        row[self.tables[name].time] = _moment(int(line[position + 1 :]) // 1000)
        return name, row

    def _name(self, line: str, position: int) -> tuple[str, int]:
        found = _NAME.match(line, position)
        if found is None:
            raise Refused(f"no name at {position}: {line[:60]}")
        return re.sub(r"\\(.)", r"\1", found[1]), found.end()

    def _typed(self, value: "re.Match[str]", wanted: str, column: str) -> Any:
        text, whole, time, flag = value.groups()
        if text is not None and wanted in ("VARCHAR", "UUID"):
            return re.sub(r"\\(.)", r"\1", text)
        if whole is not None and wanted == "LONG":
            return int(whole)
        if time is not None and wanted == "TIMESTAMP":
            return _moment(int(time))
        if flag is not None and wanted == "BOOLEAN":
            return flag in "tT"
        raise Refused(f"cast error: {value.group()} is no {wanted} ({column})")


def _moment(micros: int) -> datetime:
    return datetime.fromtimestamp(micros // 1_000_000, UTC).replace(microsecond=micros % 1_000_000)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Server

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query).get("query", [""])[0]
        if self.path.startswith("/settings"):
            self._answer(200, b'{"config": {"line.proto.support.versions": [1]}}')
        elif self.path.startswith("/exp"):
            self._reply(lambda: self.state.parquet(query))
        else:
            self._reply(lambda: json.dumps({"dataset": self.state.execute(query)}).encode())

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self._reply(lambda: self.state.take(text) or b"")

    def _reply(self, work: Any) -> None:
        if self.state.is_away:
            self._answer(503, b"away")
            return
        try:
            self._answer(200, work())
        except Refused as refusal:
            self._answer(400, json.dumps({"code": "invalid", "message": str(refusal), "errorId": "x"}).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Quiet."""


@contextmanager
def serving() -> Iterator[Server]:
    """Run it on a free port."""
    state = Server()
    http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": state}))
    http.daemon_threads = True
    state.port = http.server_port
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
