"""What the scripts in ``tools/`` do, as functions."""

from cityseg_ext.transforms.image import read_photo

from .config import load_config
from .infer_images import infer_images
from .predictor import Predictor
from .runs import test, train
from .synthetic_cityscapes import write_synthetic_cityscapes
from .synthetic_pairs import write_synthetic_pairs

__all__ = [
    "Predictor",
    "infer_images",
    "load_config",
    "read_photo",
    "test",
    "train",
    "write_synthetic_cityscapes",
    "write_synthetic_pairs",
]
