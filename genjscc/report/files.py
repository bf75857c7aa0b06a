# SPDX-License-Identifier: Apache-2.0
"""Reader of result files of every kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from genjscc.errors import InvalidInputError, first_problem
from genjscc.evaluation.receiver_time import TimedFile
from genjscc.evaluation.records import ResultFile
from genjscc.evaluation.separation.records import SeparationFile


def read_result_file(path: Path) -> ResultFile:
    """Read a result file as the class that matches its records.

    Raises:
        InvalidInputError: the file is missing or not valid.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInputError("results", f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InvalidInputError("results", f"{path} is not JSON: {error}") from error
    try:
        return _kind_of(content).model_validate(content)
    except ValidationError as error:
        raise InvalidInputError("results", f"{path}: {first_problem(error)}") from error


def _kind_of(content: Any) -> type[ResultFile]:
    records = content.get("records") if isinstance(content, dict) else None
    first = records[0] if isinstance(records, list) and records else None
    if not isinstance(first, dict):
        return ResultFile
    if "receiver_seconds" in first:
        return TimedFile
    return SeparationFile if first.get("scheme") == "separation" else ResultFile
