"""Structured logs on standard error: JSON where a machine reads, readable where a person does.

Kept out: what is logged. Callers pass facts as keywords, never a URL with its password or a key.
"""

import logging
import sys
from typing import Any

import structlog


def configure_logs(log_format: str) -> None:
    """Set up logging for this process; `auto` is text on a terminal and JSON elsewhere."""
    as_text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    renderer: Any = structlog.dev.ConsoleRenderer() if as_text else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
