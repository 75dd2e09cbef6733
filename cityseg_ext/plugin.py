"""Import every room that registers something: the one place where registration happens.

Configs say ``custom_imports = dict(imports=['cityseg_ext.plugin'])``.
"""

from cityseg_ext import datasets, hooks, losses, metrics, models, optim, refiners, samplers, transforms, visualization

__all__ = [
    "datasets",
    "hooks",
    "losses",
    "metrics",
    "models",
    "optim",
    "refiners",
    "samplers",
    "transforms",
    "visualization",
]
