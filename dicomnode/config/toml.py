"""A TOML file on disk, or its text, as a table; every way to fail is a ``ConfigError`` that names the file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from dicomnode.config.problems import problems_of
from dicomnode.errors import ConfigError

T = TypeVar("T")


def read_text(path: Path, *, advice: str = "see that the path is right") -> str:
    """Return the text of a file that must be UTF-8.

    Parameters
    ----------
    advice:
        What to do where the file is not there.

    Raises
    ------
    ConfigError
        If it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8").replace("\r\n", "\n")
    except FileNotFoundError:
        msg = f"{path}: no such file; {advice}"
        raise ConfigError(msg) from None
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise ConfigError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8"
        raise ConfigError(msg) from error


def parse(text: str, source: str) -> dict[str, Any]:
    """Return the tables of a TOML text.

    Raises
    ------
    ConfigError
        If it is no TOML: the parser stops at its first mistake, with line and column.
    """
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as error:
        msg = f"{source}: not TOML: {error}"
        raise ConfigError(msg) from error


def check(schema: TypeAdapter[T], raw: dict[str, Any], source: str) -> tuple[list[T], list[str]]:
    """Return the checked table as the only entry of a list, or an empty list and one line for every mistake."""
    try:
        return [schema.validate_python(raw)], []
    except ValidationError as error:
        return [], list(problems_of(error, raw, schema, source))
