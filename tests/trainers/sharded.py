"""FSDP2 on gloo processes of a CPU: torch can do it, accelerate runs plain data parallelism where it is asked for it."""

from __future__ import annotations

import os
from typing import Any

from accelerate import state
from accelerate.utils import DistributedType
from torch import Tensor

# What `accelerate launch --config_file recipes/launchers/fsdp2.yaml` puts into the environment.
ENVIRONMENT = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_OFFLOAD_PARAMS": "false",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
    "FSDP_ACTIVATION_CHECKPOINTING": "false",
}


def shard_on_cpus() -> None:
    """From here on accelerate takes gloo processes for ones that can be sharded over, as it does GPUs; all else is its own."""
    os.environ |= ENVIRONMENT
    begin = state.AcceleratorState.__init__

    def begin_sharded(self: Any, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
        begin(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        if fsdp_plugin is not None:
            self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin
            state.PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    state.AcceleratorState.__init__ = begin_sharded


def whole(tensor: Tensor) -> Tensor:
    """A tensor that processes hold parts of, or one that each holds whole: a copy of all of it."""
    return tensor.full_tensor().clone() if hasattr(tensor, "full_tensor") else tensor.clone()
