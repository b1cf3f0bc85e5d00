"""Káto's log: events of every room go in; lines go to standard error, and to a file that is rotated.

A line is for people (`text`) or for programs (`json`: an object with time, level, event and, where they are known,
node, app, task and deployment).
"""

import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping, MutableMapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import msgspec
import structlog

SIZE, KEPT = 10 * 2**20, 2
"""Bytes of one file, and how many full ones are kept beside it."""
IDS = ("node", "app", "task", "deployment")

IdsOf = Callable[[str | None, str | None], Mapping[str, str]]
"""Told a task or an app, it says whose the one is and which deployment holds the other."""


class Ids:
    """Puts the ids into a line that whoever said it did not know. known: asked on the main thread alone."""

    def __init__(self, node: str) -> None:
        self._node = node
        self.known: IdsOf = lambda task, app: {}

    def __call__(self, _logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("node", self._node)
        task, app = event.get("task"), event.get("app")
        if (task or app) and threading.current_thread() is threading.main_thread():
            for name, id in self.known(task, app).items():
                event.setdefault(name, id)
        return event


def log_to(
    file: Path,
    ids: Ids,
    form: str = "text",
    level: str = "info",
    ship: Callable[[str], None] | None = None,
    size: int = SIZE,
) -> None:
    """Writes the log to `file`, and to standard error unless that is the same file already. form: text or json.

    size: bytes after which another file is begun. ship: takes each line as json, on whatever thread it was said.
    """
    handlers: list[logging.Handler] = [_Rotated(file, maxBytes=size, backupCount=KEPT, encoding="utf-8")]
    if not os.path.sameopenfile(sys.stderr.fileno(), _descriptor(handlers[0])):
        handlers.append(logging.StreamHandler(sys.stderr))
    said: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        ids,
    ]
    forms = dict.fromkeys(handlers, form) | ({_Shipped(ship): "json"} if ship else {})
    formatters = {
        each: _Once(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _written(each)],
            foreign_pre_chain=said,
        )
        for each in set(forms.values())
    }
    for handler, each in forms.items():
        handler.setFormatter(formatters[each])
    logging._srcfile = None  # no line says where in the code it was said (logging's guide, "Optimization")
    logging.basicConfig(level=level.upper(), handlers=list(forms), force=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *said,
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


class _Rotated(RotatingFileHandler):
    """Begins another file before a line, once the last one is full: that one may be longer by its last line.

    The library's own looks at the file system and renders the line once more, for every line.
    """

    def shouldRollover(self, _record: logging.LogRecord) -> bool:
        return self.stream is not None and self.stream.tell() >= self.maxBytes


class _Once(structlog.stdlib.ProcessorFormatter):
    """Renders a line once, however many handlers write it one after the other."""

    _last: tuple[logging.LogRecord, str] | None = None

    def format(self, record: logging.LogRecord) -> str:
        last = self._last
        if last is None or last[0] is not record:
            last = self._last = (record, super().format(record))
        return last[1]


class _Shipped(logging.Handler):
    """Hands lines on."""

    def __init__(self, take: Callable[[str], None]) -> None:
        super().__init__()
        self._take = take

    def emit(self, record: logging.LogRecord) -> None:
        self._take(self.format(record))


def _written(form: str) -> structlog.typing.Processor:
    if form == "text":
        return structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0)

    def as_json(_logger: object, _name: str, event: MutableMapping[str, Any]) -> str:
        event["time"] = event.pop("timestamp")
        first = {name: event.pop(name) for name in ("time", "level", "event", *IDS) if name in event}
        return msgspec.json.encode({**first, **event}, enc_hook=str).decode()

    return as_json


def _descriptor(handler: logging.Handler) -> int:
    assert isinstance(handler, RotatingFileHandler) and handler.stream is not None
    return handler.stream.fileno()
