# SPDX-License-Identifier: Apache-2.0
"""Tracing to TorchScript, so that inference does not contend for the GIL.

An eager network reacquires the GIL after each operation. In a service whose event loop is busy
answering or refusing calls, it has to wait for that loop each time.
"""

from __future__ import annotations

import io
import sys
import warnings

import torch
from torch import Tensor, nn

# The last version of PyTorch that supports TorchScript. Its successors run in the interpreter or
# need a compiler on the serving machine.
_OFFERED = sys.version_info < (3, 14)
# PyTorch profiles a graph in its first run and optimises it in the second.
_RUNS_TO_OPTIMISE = 2


def as_graph(network: nn.Module, *examples: Tensor) -> nn.Module:
    """Trace a network for inference on tensors of the examples' types and any sizes.

    Args:
        network: made of tensor operations only, the same ones for every input; its weights need
            no gradients.
        examples: example arguments.
    """
    if not _OFFERED or isinstance(network, torch.jit.ScriptModule):  # or already traced
        return network
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", FutureWarning)
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            network.eval(), examples, check_trace=False
        )
        graph = _apart(torch.jit.freeze(traced))
        for _ in range(_RUNS_TO_OPTIMISE):
            graph(*examples)
    return graph


def _apart(graph: torch.jit.ScriptModule) -> nn.Module:
    """Return a copy that owns its code, so that its memory returns when it is dropped.

    Code traced in Python belongs to the process and holds the weights to its end.
    """
    stored = io.BytesIO()
    torch.jit.save(graph, stored)
    stored.seek(0)
    copy: nn.Module = torch.jit.load(stored)  # type: ignore[no-untyped-call]
    return copy


def forget_traces() -> None:
    """Return the memory of code that was traced in this process; graphs of `as_graph` stay."""
    clear = getattr(torch._C, "_jit_clear_class_registry", None)
    if clear is not None:
        clear()
    torch.jit._state._clear_class_state()
    torch.jit._recursive.concrete_type_store = torch.jit._recursive.ConcreteTypeStore()
