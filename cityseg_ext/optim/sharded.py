"""Weights, gradients and optimiser state shared out among processes (FSDP)."""

from __future__ import annotations

from typing import Any

import torch
from mmengine._strategy import FSDPStrategy
from mmengine.device import get_device
from mmengine.registry import STRATEGIES
from mmengine.runner import FlexibleRunner
from torch import nn
from torch.distributed.fsdp import FullOptimStateDictConfig, FullStateDictConfig, FullyShardedDataParallel
from torch.distributed.fsdp._common_utils import clean_tensor_name


@STRATEGIES.register_module()
class ShardedStrategy(FSDPStrategy):
    """MMEngine's ``FSDPStrategy`` (Zhao et al., "PyTorch FSDP", VLDB 2023), with what it lacks for segmentors.

    * BatchNorm becomes SyncBatchNorm on GPUs, as under DDP;
    * checkpoints hold the whole state, as under DDP, so that any number of processes can load them;
    * optimiser state is loaded from them: MMEngine passes PyTorch's arguments in their order before 2.1;
    * it runs on the CPU, for tests.

    The model is one unit: during forward and backward all its weights are there. Do not wrap decode heads by an
    ``auto_wrap_policy``: mmseg calls their ``loss`` method, where FSDP gathers weights in ``forward`` only.

    Args:
        model_wrapper: further arguments of ``MMFullyShardedDataParallel``, such as ``sharding_strategy`` or
            ``cpu_offload``.
        kwargs: as for ``FSDPStrategy``.
    """

    def __init__(self, *, model_wrapper: dict | None = None, **kwargs: Any) -> None:
        on_cpu = get_device() == "cpu"
        wrapper: dict[str, Any] = dict(type="MMFullyShardedDataParallel")
        if on_cpu:
            wrapper["device_id"] = torch.device("cpu")
        else:
            kwargs.setdefault("sync_bn", "torch")
        where = dict(rank0_only=True, offload_to_cpu=not on_cpu)  # PyTorch frees what it "offloads" from CPU to CPU
        whole = dict(
            state_dict_type="FULL_STATE_DICT",
            state_dict_config=FullStateDictConfig(**where),
            optim_state_dict_config=FullOptimStateDictConfig(**where),
        )
        super().__init__(model_wrapper=wrapper | (model_wrapper or {}), state_dict_cfg=whole, **kwargs)

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        return super()._wrap_model(self.convert_model(model))

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Take this process' share of a whole optimiser state; see mmengine's ``FSDPStrategy``.

        Args:
            state_dict: as saved by this strategy, by names of weights, or by any other optimiser, by their numbers.
        """
        optimizer = self.optim_wrapper.optimizer
        names = {id(weight): clean_tensor_name(name) for name, weight in self.model.named_parameters()}
        ordered = [names[id(weight)] for group in optimizer.param_groups for weight in group["params"]]
        share = FullyShardedDataParallel.optim_state_dict_to_load(
            model=self.model, optim=optimizer, optim_state_dict=_by_name(state_dict, ordered)
        )
        self.optim_wrapper.load_state_dict(share)


def _by_name(state_dict: dict, names: list[str]) -> dict:
    """An optimiser's state with names instead of numbers; names stay."""

    def name(key: int | str) -> str:
        return names[key] if isinstance(key, int) else key

    return dict(
        state={name(key): value for key, value in state_dict["state"].items()},
        param_groups=[
            group | dict(params=[name(key) for key in group["params"]]) for group in state_dict["param_groups"]
        ],
    )


class ShardedRunner(FlexibleRunner):
    """MMEngine's ``FlexibleRunner``, whose checkpoints are of the step that hooks say.

    By itself it counts once more, and one too far after a validation: a resumed run would leave out an epoch.
    """

    def save_checkpoint(self, *args: Any, meta: dict | None = None, **kwargs: Any) -> None:
        """Save; see mmengine's ``FlexibleRunner``."""
        self._said = dict(meta or {})
        super().save_checkpoint(*args, meta=dict(self._said), **kwargs)

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Call the hooks; see mmengine's ``FlexibleRunner``."""
        if fn_name == "before_save_checkpoint":
            kwargs["checkpoint"]["meta"].update(self._said)
        super().call_hook(fn_name, **kwargs)
