"""`/metrics` and `/health` of a daemon, served from a thread of their own.

Kept out: what is healthy; the daemon passes a function that says so.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from kalshi_platform.core.errors import ConfigurationError

Health = Callable[[], Mapping[str, Any]]
"""Parts and their state; `healthy` decides between 200 and 503."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Say nothing: scrapes come every few seconds."""


@contextmanager
def serve_status(host: str, port: int, registry: CollectorRegistry, health: Health) -> Iterator[int]:
    """Serve until the block is left; yields the port.

    Raises:
        ConfigurationError: Where the address cannot be had.
    """
    metrics: Callable[[Any, Any], Iterable[bytes]] = make_wsgi_app(registry)

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/health":
            return metrics(environ, start_response)
        report = health()
        status = "200 OK" if report.get("healthy") else "503 Service Unavailable"
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps(report, default=str).encode()]

    try:
        server = make_server(host, port, app, server_class=_Server, handler_class=_Handler)
    except OSError as error:
        raise ConfigurationError(
            f"cannot serve metrics on {host}:{port}: {error.strerror}; set KALSHI_METRICS_PORT to a free port"
        ) from error
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
