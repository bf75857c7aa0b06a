# SPDX-License-Identifier: Apache-2.0
"""Networks as graphs, which PyTorch runs without the interpreter and so without its lock.

A network of modules takes the lock again after each of its operations. In a service whose event
loop has calls to answer or to refuse, it waits each time until that one lets go.
"""

from __future__ import annotations

import sys
import warnings

import torch
from torch import Tensor, nn

# PyTorch supports TorchScript up to here. What is to replace it runs in the interpreter, or needs a
# compiler where the service runs.
_OFFERED = sys.version_info < (3, 14)
# PyTorch looks at the first run of a graph and improves it in the second.
_RUNS_TO_OPTIMISE = 2


def as_graph(network: nn.Module, *examples: Tensor) -> nn.Module:
    """The same function of tensors of the examples' types, any sizes: for inference alone.

    Args:
        network: nothing but operations on tensors, the same ones for every input; its weights need
            no gradients.
        examples: arguments that it can be called with.
    """
    if not _OFFERED or isinstance(network, torch.jit.ScriptModule):  # or it is one already
        return network
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", FutureWarning)
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            network.eval(), examples, check_trace=False
        )
        graph: nn.Module = torch.jit.freeze(traced)
        for _ in range(_RUNS_TO_OPTIMISE):
            graph(*examples)
    return graph
