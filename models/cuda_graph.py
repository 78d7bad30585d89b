"""Forward and backward pass of a training step as CUDA graphs: two launches instead of thousands.

A network of this size keeps a GPU waiting for its processor otherwise: the kernels of a step run in less time than Python needs
to queue them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def capture(net: nn.Module, *examples: Tensor) -> None:
    """Let `net`, in training mode, replay what it does to inputs of the shapes and memory formats of `examples` (on the GPU).

    Every later batch must have those shapes. Weights may change in place alone. Running statistics are left as they were.
    """
    before = {name: value.clone() for name, value in net.named_buffers()}
    torch.cuda.make_graphed_callables(net, examples, allow_unused_input=True)
    with torch.no_grad():
        for name, value in net.named_buffers():
            value.copy_(before[name])
