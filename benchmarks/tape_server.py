"""An exchange that only plays a prebuilt tape: the same bytes to whoever connects, as fast as they are taken.

It answers the handshake and the commands of a subscription, sends every book, then the deltas. Raw sockets and frames
made before the start, so that it costs as little as can be on the machine that it shares with what is measured.
Run: python tape_server.py FRAMES MARKETS (prints its port; with TLS=1 it speaks TLS with a certificate of its own).
"""

import base64
import hashlib
import json
import random
import socket
import sys
from collections.abc import Iterator

from measure import arguments

T0 = 1_795_219_200_000
DELTAS_PER_MS = 50
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def ticker(number: int) -> str:
    """A market's name."""
    return f"KXBENCH-26DEC01-T{number}"


def books(markets: int) -> list[dict[str, dict[int, int]]]:
    """Deci-cent books of ten levels a side that never cross."""
    chance = random.Random(1)  # noqa: S311 - the same tape each time
    return [
        {side: dict.fromkeys(chance.sample(range(1, 490), 10), 100000) for side in ("yes", "no")}
        for _ in range(markets)
    ]


def deltas(count: int, markets: int) -> Iterator[tuple[int, str, str, int, int]]:
    """Milliseconds, ticker, side, price in tenths of a cent, hundredths of a contract; no level goes below nothing."""
    chance = random.Random(2)  # noqa: S311 - the same tape each time
    state = books(markets)
    for number in range(count):
        market = chance.randrange(markets)
        side = "yes" if chance.random() < 0.5 else "no"
        price = chance.randrange(1, 490)
        held = state[market][side].get(price, 0)
        change = -held if held and chance.random() < 0.4 else chance.randrange(1, 40) * 50
        state[market][side][price] = held + change
        yield T0 + number // DELTAS_PER_MS, ticker(market), side, price, change


def _text(payload: bytes) -> bytes:
    size = len(payload)
    head = b"\x81" + (bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big"))
    return head + payload


def _price(price: int) -> str:
    return f"0.{price:03d}0"


def _size(size: int) -> str:
    return f"{'-' if size < 0 else ''}{abs(size) // 100}.{abs(size) % 100:02d}"


def _snapshot(seq: int, market: int, book: dict[str, dict[int, int]]) -> bytes:
    levels = {
        f"{side}_dollars_fp": [[_price(price), _size(size)] for price, size in book[side].items()]
        for side in ("yes", "no")
    }
    body = {"market_ticker": ticker(market), "market_id": "5f0c84d8-9df7-4965-8be3-0a230f12c02e", **levels}
    frame = {"type": "orderbook_snapshot", "sid": 1, "seq": seq, "sending_ts_ms": T0, "msg": body}
    return _text(json.dumps(frame, separators=(",", ":")).encode())


def tape(count: int, markets: int, first_seq: int) -> Iterator[bytes]:
    """The deltas as frames, some hundred at once."""
    pieces: list[bytes] = []
    for seq, (ms, name, side, price, change) in enumerate(deltas(count, markets), first_seq):
        pieces.append(
            _text(
                f'{{"type":"orderbook_delta","sid":1,"seq":{seq},"sending_ts_ms":{ms},"msg":{{"market_ticker":"{name}",'
                f'"market_id":"5f0c84d8-9df7-4965-8be3-0a230f12c02e","price_dollars":"{_price(price)}",'
                f'"delta_fp":"{_size(change)}","side":"{side}","ts":"2026-11-21T00:00:00.000000Z","ts_ms":{ms}}}}}'.encode()
            )
        )
        if len(pieces) == 256:
            yield b"".join(pieces)
            pieces.clear()
    yield b"".join(pieces)


class Client:
    """One connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._waiting = b""

    def shake_hands(self) -> None:
        """Answer the upgrade."""
        while b"\r\n\r\n" not in self._waiting:
            self._waiting += self._connection.recv(65536)
        head, _, self._waiting = self._waiting.partition(b"\r\n\r\n")
        lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        key = next(
            line.split(b": ", 1)[1] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")
        )
        assert lines
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())  # noqa: S324 - RFC 6455 says so
        self._connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )

    def command(self) -> dict[str, object]:
        """The next text that the client sends."""
        while True:
            opcode, payload = self._frame()
            if opcode == 1:
                return dict(json.loads(payload))
            if opcode == 8:
                raise ConnectionError("the client has closed")

    def _frame(self) -> tuple[int, bytes]:
        head = self._take(2)
        size = head[1] & 127
        if size == 126:
            size = int.from_bytes(self._take(2), "big")
        elif size == 127:
            size = int.from_bytes(self._take(8), "big")
        mask = self._take(4)
        data = self._take(size)
        return head[0] & 15, bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))

    def _take(self, size: int) -> bytes:
        while len(self._waiting) < size:
            more = self._connection.recv(65536)
            if not more:
                raise ConnectionError("the client is gone")
            self._waiting += more
        taken, self._waiting = self._waiting[:size], self._waiting[size:]
        return taken

    def send(self, data: bytes) -> None:
        """Send frames."""
        self._connection.sendall(data)


def serve(client: Client, frames: list[bytes], markets: int) -> None:
    """Answer until every market is subscribed, then play the tape; ends when the client leaves."""
    client.shake_hands()
    all_books, asked, seq = books(markets), 0, 0
    while asked < markets:
        command = client.command()
        names = command["params"]["market_tickers"]  # type: ignore[index]
        if command["cmd"] == "subscribe":
            reply = {"id": command["id"], "type": "subscribed", "msg": {"channel": "orderbook_delta", "sid": 1}}
        else:
            seq += 1
            reply = {"id": command["id"], "type": "ok", "sid": 1, "seq": seq}
        client.send(_text(json.dumps(reply).encode()))
        for name in names:
            seq += 1
            market = int(name.rpartition("T")[2])
            client.send(_snapshot(seq, market, all_books[market]))
        asked += len(names)
    for piece in frames:
        client.send(piece)
    while True:
        client.command()


def commands_for(markets: int) -> int:
    """How many sequence numbers the subscription of all markets takes, 500 in one command."""
    return markets + (markets - 1) // 500


def main() -> None:
    """Play to one client after the other."""
    count, markets = arguments(__doc__, frames=int, markets=int)
    frames = list(tape(count, markets, commands_for(markets) + 1))
    with socket.create_server(("127.0.0.1", 0)) as server:
        sys.stdout.write(f"{server.getsockname()[1]}\n")
        sys.stdout.flush()
        while True:
            connection, _ = server.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection:
                try:
                    serve(Client(connection), frames, markets)
                except (ConnectionError, OSError):
                    continue


if __name__ == "__main__":
    main()
