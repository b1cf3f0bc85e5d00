"""Káto's log: events of every room go in; lines go to standard error, and to a file that is rotated."""

import logging
import os
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path

import structlog

SIZE, KEPT = 10 * 2**20, 2
"""Bytes of one file, and how many full ones are kept beside it."""


def log_to(file: Path, level: str = "info") -> None:
    """Writes the log to `file`, and to standard error unless that is the same file already."""
    handlers: list[logging.Handler] = [
        RotatingFileHandler(file, maxBytes=SIZE, backupCount=KEPT, encoding="utf-8")
    ]
    if not os.path.sameopenfile(sys.stderr.fileno(), _descriptor(handlers[0])):
        handlers.append(logging.StreamHandler(sys.stderr))
    logging.basicConfig(level=level.upper(), format="%(message)s", handlers=handlers, force=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _descriptor(handler: logging.Handler) -> int:
    assert isinstance(handler, RotatingFileHandler) and handler.stream is not None
    return handler.stream.fileno()
