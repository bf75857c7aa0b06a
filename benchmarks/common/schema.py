# SPDX-License-Identifier: Apache-2.0
"""Common fields of all results/bench_*.json files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from genjscc.errors import InvalidInputError


class Spread(BaseModel):
    """A value with its spread over the rounds of one run."""

    model_config = ConfigDict(extra="forbid")

    median: float
    min: float
    max: float
    rounds: int = Field(ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.min <= self.median <= self.max:
            raise ValueError(f"{self.min}, {self.median}, {self.max} do not ascend")
        return self


class Criterion(BaseModel):
    """A criterion; `note` explains a value that does not meet it."""

    model_config = ConfigDict(extra="forbid")

    name: str
    value: float | None = Field(description="None: could not be measured")
    at_least: float | None = None
    at_most: float | None = None
    met: bool
    note: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("needs either at_least or at_most")
        if self.met != self.holds():
            raise ValueError(f"{self.name}: says met={self.met}, the value {self.value} otherwise")
        return self

    def holds(self) -> bool:
        """Whether the value meets the limit."""
        if self.value is None:
            return False
        if self.at_least is not None:
            return self.value >= self.at_least
        return self.at_most is not None and self.value <= self.at_most


class BenchFile(BaseModel):
    """A result file; measurements are stored beside these fields."""

    model_config = ConfigDict(extra="allow")

    format: Literal[1]
    command: str
    version: str
    commit: str
    short: bool
    cores: int = Field(ge=1)
    seconds: float = Field(ge=0, description="that the whole run took")
    criteria: list[Criterion]


def read(path: Path) -> BenchFile:
    """Read a result file.

    Raises:
        InvalidInputError: missing, or not one; the text names the field.
    """
    try:
        return BenchFile.model_validate(json.loads(path.read_text()))
    except OSError as error:
        raise InvalidInputError("results", f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInputError("results", f"{path}: {where}: {first['msg']}") from error
    except ValueError as error:
        raise InvalidInputError("results", f"{path} is not JSON: {error}") from error
