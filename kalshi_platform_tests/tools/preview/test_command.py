"""`kalshi-platform preview` as a process: files packed and plain, HTTP, S3, a real terminal, and bounded memory."""

import gzip
import json
import os
import pty
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.tools.preview.pager import Pager
from kalshi_platform.tools.preview.records import records, shape_of
from kalshi_platform.tools.preview.sources import open_source

MARKETS = [{"ticker": f"KX-{number}", "bid": "0.5600", "note": "x\x1b[31m", "n": number} for number in range(45)]


def _run(folder: Path, *arguments: str, code: int = 0, **settings: str) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "kalshi_platform.cli", "preview", *arguments],
        cwd=folder, env={**os.environ, "COLUMNS": "80", "NO_COLOR": "1", **settings},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def _zstd(content: bytes) -> bytes:
    packed: bytes = pa.compress(content, codec="zstd", asbytes=True)
    return packed


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Quiet."""


class _Bucket(_Handler):
    """What of S3 a reader needs: the size of a key, and ranges of it."""

    content = b""

    def do_HEAD(self) -> None:
        found = self.path.startswith("/bucket/markets.json")
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(self.content) if found else 0))
        self.end_headers()

    def do_GET(self) -> None:
        first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        part = self.content[int(first) : int(last or len(self.content)) + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(self.content)}")
        self.end_headers()
        self.wfile.write(part)


@contextmanager
def _server(handler: Any) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_page_as_a_table_and_as_json(tmp_path: Path) -> None:
    """80 columns, no colour, nothing that a terminal would obey; where it stands goes to standard error."""
    (tmp_path / "m.json").write_text(json.dumps({"cursor": "", "markets": MARKETS}))
    table, told = _run(tmp_path, "m.json", "--page", "3")
    lines = table.splitlines()
    assert lines[0].split() == ["ticker", "bid", "note", "n"]
    assert [line.split()[0] for line in lines[1:]] == ["41", "42", "43", "44", "45"]
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in table + told
    assert "elements of markets, 41 to 45" in told
    lines_of_json, _ = _run(tmp_path, "m.json", "--json", "--rows", "2")
    assert [json.loads(line) for line in lines_of_json.splitlines()] == MARKETS[:2]
    _, told = _run(tmp_path, "m.json", "--page", "4", code=2)
    assert "ends before page 4" in told
    _, told = _run(tmp_path, "m.json", "--interactive", code=2)
    assert "--interactive needs a terminal" in told


@pytest.mark.parametrize("pack", [bytes, gzip.compress, _zstd], ids=["plain", "gzip", "zstd"])
def test_packed_sources(tmp_path: Path, pack: Any) -> None:
    """Seen from the first bytes; several packed parts in a row are one, as recorders that go on write them."""
    lines = [json.dumps(one).encode() + b"\n" for one in MARKETS]
    (tmp_path / "m").write_bytes(pack(b"".join(lines[:20])) + pack(b"".join(lines[20:])))
    opener = partial(open_source, str(tmp_path / "m"))
    assert list(records(opener, "m", shape_of(opener, "m"))) == MARKETS


def test_http_and_s3(tmp_path: Path) -> None:
    """Streamed; a key in the address is not repeated in an error."""
    content = json.dumps(MARKETS).encode()
    (tmp_path / "m.json.gz").write_bytes(gzip.compress(content))
    with _server(partial(_Handler, directory=str(tmp_path))) as place:
        opener = partial(open_source, f"http://{place}/m.json.gz")
        assert list(records(opener, "m", shape_of(opener, "m"))) == MARKETS
        with (
            pytest.raises(ConfigurationError, match="answered 404") as refused,
            open_source(f"http://{place}/no?sig=s3cret"),
        ):
            pass
        assert "s3cret" not in str(refused.value)
    with _server(type("Bucket", (_Bucket,), {"content": content})) as place:
        query = f"?scheme=http&endpoint_override={place}&region=us-east-1"
        access = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s3cret", "AWS_EC2_METADATA_DISABLED": "true"}
        shown, _ = _run(tmp_path, f"s3://bucket/markets.json{query}", "--json", "--rows", "45", **access)
        assert [json.loads(line) for line in shown.splitlines()] == MARKETS
        _, told = _run(tmp_path, f"s3://bucket/absent.json{query}", code=2, **access)
        assert "cannot read s3://bucket/absent.json" in told


def test_a_broken_record_is_named_behind_those_before_it(tmp_path: Path) -> None:
    """The table shows what was whole."""
    (tmp_path / "m.ndjson").write_text('{"a": 1}\n{"a": 2}\n{"a": oops}\n{"a": 4}\n')
    table, told = _run(tmp_path, "m.ndjson", code=2)
    assert [line.split() for line in table.splitlines()] == [["a"], ["1", "1"], ["2", "2"]]
    assert "m.ndjson is not JSON at line 3, byte 24" in told


def test_pages_far_back_are_read_again() -> None:
    """Fifty stay in memory."""
    begun: list[int] = []

    def begin() -> Iterator[int]:
        begun.append(1)
        return (number for number in range(1000))

    pager = Pager(begin, 10)
    for number, first in ((1, 0), (80, 790), (60, 590), (2, 10), (100, 990)):
        page = pager.page(number)
        assert page is not None
        assert page.records[0] == first
    assert pager.page(101) is None
    assert len(begun) == 2


def test_keys_turn_pages_in_a_terminal(tmp_path: Path) -> None:
    """n, p and q on a real pseudo-terminal."""
    (tmp_path / "m.json").write_text(json.dumps(MARKETS))
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "kalshi_platform.cli", "preview", "m.json", "--interactive"],
        cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE,
        env={**os.environ, "COLUMNS": "80", "LINES": "30", "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    try:
        for key, shows in ((b"", "page 1:"), (b"n", "page 2:"), (b"n", "page 3:"), (b"n", "this is the last page"),
                           (b"p", "page 2:"), (b"p", "page 1:"), (b"p", "this is the first page")):  # fmt: skip
            os.write(ours, key)
            _wait_for(ours, shows)
        os.write(ours, b"q")
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()
        os.close(ours)


def _wait_for(terminal: int, text: str) -> None:
    seen = b""
    while text.encode() not in seen:
        assert select.select([terminal], [], [], 20)[0], seen.decode(errors="replace")
        seen += os.read(terminal, 4096)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_memory_does_not_grow_with_the_source(tmp_path: Path) -> None:
    """Ten times the array, the same memory."""
    code = (
        "import re, sys; from functools import partial; from pathlib import Path\n"
        "from kalshi_platform.tools.preview.records import records, shape_of\n"
        "from kalshi_platform.tools.preview.sources import open_source\n"
        "opener = partial(open_source, sys.argv[1])\n"
        "print(sum(1 for _ in records(opener, '', shape_of(opener, ''))))\n"
        r"print(re.search(r'VmHWM:\s+(\d+)', Path('/proc/self/status').read_text())[1])"
    )
    peaks = {}
    for count in (20_000, 200_000):
        with gzip.open(tmp_path / "m.json.gz", "wb", compresslevel=1) as file:
            file.write(b"[" + b",".join([json.dumps(MARKETS[0] | {"rules": "r" * 300}).encode()] * count) + b"]")
        done = subprocess.run([sys.executable, "-c", code, tmp_path / "m.json.gz"], capture_output=True, check=True)
        counted, peak = map(int, done.stdout.split())
        assert counted == count
        peaks[count] = peak
    assert peaks[200_000] < peaks[20_000] + 8_000, "KiB"
