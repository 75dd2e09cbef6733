"""What the scripts in ``tools/`` do, as functions."""

from .config import load_config
from .runs import test, train
from .synthetic_cityscapes import write_synthetic_cityscapes

__all__ = ["load_config", "test", "train", "write_synthetic_cityscapes"]
