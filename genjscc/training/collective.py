# SPDX-License-Identifier: Apache-2.0
"""Sums, means and gathers over the processes of a run; with one process they change nothing."""

from __future__ import annotations

from typing import cast

from lightning_fabric import Fabric
from torch import Tensor


def sum_over_processes(fabric: Fabric, values: Tensor) -> Tensor:
    """Element-wise sum. Every process must call it, with the same shape; so for all of these."""
    return cast("Tensor", fabric.all_reduce(values, reduce_op="sum"))


def mean_over_processes(fabric: Fabric, values: Tensor) -> Tensor:
    """Element-wise mean."""
    return cast("Tensor", fabric.all_reduce(values, reduce_op="mean"))


def rows_of_processes(fabric: Fabric, rows: Tensor) -> Tensor:
    """Rows [N, F] of all processes, in the order of their ranks. -> [ranks * N, F]."""
    table = rows.new_zeros(fabric.world_size, *rows.shape)
    table[fabric.global_rank] = rows
    return sum_over_processes(fabric, table).flatten(0, 1)
