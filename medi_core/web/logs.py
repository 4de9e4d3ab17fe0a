"""Logs as one JSON object a line, without anything a user gave: no address, session, file name, value or message."""

import json
import logging
import sys
import time
import traceback

from medi_core.errors import InvalidRequestError

LOGGER = "medi"
LEVELS = ("debug", "info", "warning", "error")


class JsonLines(logging.Formatter):
    """A record's event and its fields; the text of an exception is left out, for it may quote what was given."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {"time": f"{moment}.{int(record.msecs):03d}Z", "level": record.levelname.lower()}
        return json.dumps(line | {"event": record.getMessage()} | getattr(record, "fields", {}))


def start_logs(level: str) -> None:
    """Write the app's log to stderr, from a level of `LEVELS` on.

    Raises:
        InvalidRequestError: there is no such level.
    """
    if level not in LEVELS:
        raise InvalidRequestError(f"MEDI_LOG_LEVEL = {level}: it must be one of {', '.join(LEVELS)}")
    logger = logging.getLogger(LOGGER)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False


def log(level: int, event: str, **fields: object) -> None:
    """One line. Fields are names, numbers and outcomes, never what a user gave."""
    logging.getLogger(LOGGER).log(level, event, extra={"fields": fields})


def log_fault(event: str, error: BaseException, **fields: object) -> None:
    """A bug, or a request that met one: the kind of error and the places in the code, innermost last."""
    places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    log(logging.ERROR, event, error=type(error).__name__, places=places[-8:], **fields)
