"""Logs without what a user gave. Run: pytest tests/web/test_logs.py"""

import json
import logging

import pytest

from medi_core.errors import InvalidRequestError
from medi_core.web.logs import LOGGER, log, log_fault, start_logs


@pytest.fixture(autouse=True)
def restored():
    logger = logging.getLogger(LOGGER)
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = before


def test_a_line_is_json_with_its_fields(capsys):
    start_logs("info")
    log(logging.INFO, "run", name="generate", ms=12)
    log(logging.DEBUG, "request", status=200)
    (line,) = capsys.readouterr().err.splitlines()
    record = json.loads(line)
    assert {"level": "info", "event": "run", "name": "generate", "ms": 12}.items() <= record.items()
    assert record["time"].endswith("Z")


def test_a_fault_names_its_place_and_not_its_message(capsys):
    start_logs("warning")
    try:
        int("patient 0815")
    except ValueError as error:
        log_fault("bug", error, run="generate")
    line = capsys.readouterr().err
    assert "0815" not in line
    record = json.loads(line)
    assert record["error"] == "ValueError"
    assert "test_a_fault_names_its_place_and_not_its_message" in record["places"][-1]


def test_an_unknown_level_is_refused():
    with pytest.raises(InvalidRequestError, match="MEDI_LOG_LEVEL = loud: it must be one of debug, info"):
        start_logs("loud")
