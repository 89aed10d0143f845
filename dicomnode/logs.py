"""One exit for every log record: one JSON line per event, and no patient data.

Our events, and the records of pynetdicom, MONAI and SQLAlchemy, pass the same filter.
Event names are constant snake_case; values are keys. UIDs may appear; names, identifiers
and dates of patients may not: a key that names a patient attribute is dropped.
"""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

FORBIDDEN_KEYS = frozenset({
    "patient", "patient_name", "patient_id", "patient_birth_date", "birth_date", "accession_number",
    "PatientName", "PatientID", "PatientBirthDate", "OtherPatientIDs", "AccessionNumber",
    "ReferringPhysicianName", "InstitutionName",
})
QUIET_LOGGERS = ("pynetdicom", "monai", "sqlalchemy", "alembic", "apscheduler", "uvicorn")
TALKATIVE_LOGGERS = ("pydicom", "highdicom")
"""Their warnings quote element values."""


def configure(*, level: str = "INFO", human: bool = False, stream: TextIO | None = None) -> None:
    """Send every record of this process to ``stream`` (default stdout), as JSON or, for a person, as text."""
    renderer = structlog.dev.ConsoleRenderer() if human else structlog.processors.JSONRenderer(ensure_ascii=False)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        drop_patient_data,
        name_exception,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    ))
    handler.addFilter(lambda record: record.name.split(".", 1)[0] not in TALKATIVE_LOGGERS)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.showwarning = _note_warning


def _note_warning(message: Warning | str, category: type[Warning], filename: str, lineno: int,
                  file: TextIO | None = None, line: str | None = None) -> None:
    """Log where a library warned, not what it said: the text may quote an element's value."""
    _ = message, file, line
    get("library").debug("library_warning", category=category.__name__, where=f"{filename}:{lineno}")


def name_exception(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Turn ``exc_info`` into class and frames; a foreign message may quote a patient's name, so it stays out."""
    exc_info = event.pop("exc_info", None)
    error = sys.exc_info()[1] if exc_info is True else exc_info[1] if isinstance(exc_info, tuple) else exc_info
    if isinstance(error, BaseException):
        event["exception"] = type(error).__name__
        event["frames"] = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]
    return event


def drop_patient_data(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Remove every key that may carry patient data; the key's name stays, so that the loss is seen."""
    for key in FORBIDDEN_KEYS & event.keys():
        event[key] = "[removed]"
    return event


def get(room: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a room."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(room)
    return logger
