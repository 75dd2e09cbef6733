"""What the scripts in ``tools/`` do, as functions."""

from .config import load_config
from .runs import test, train
from .synthetic_cityscapes import write_synthetic_cityscapes
from .synthetic_pairs import write_synthetic_pairs

__all__ = ["load_config", "test", "train", "write_synthetic_cityscapes", "write_synthetic_pairs"]
