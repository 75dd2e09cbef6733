"""Registered optimiser wrappers, and a strategy that shares their state out."""

from .bfloat16 import BFloat16OptimWrapper
from .sharded import ShardedStrategy

__all__ = ["BFloat16OptimWrapper", "ShardedStrategy"]
