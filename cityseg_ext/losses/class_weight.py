"""Class weights from a file."""

from __future__ import annotations

from cityseg_ext.checks import file_problem
from cityseg_ext.functional.class_statistics import WEIGHTINGS
from cityseg_ext.functional.dataset_statistics import CURE, statistics_from_dict
from cityseg_ext.statistics_file import read_json

DEFAULT_WEIGHTING = next(iter(WEIGHTINGS))  # ENet's: the only one that is bounded


def read_class_weight(path: str) -> list[float]:
    """Read class weights that ``tools/check_dataset.py`` wrote.

    Args:
        path: a JSON file: a plain list of numbers (``class_weights_<name>.json``, which mmseg's own losses read too),
            or the statistics (``stats.json``), which stand for their ENet weights.

    Returns:
        One weight a class, in the order of class indices.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file holds something else.
    """
    rule = "JSON with a list of class weights, or dataset statistics"
    data = read_json(path, rule)
    if isinstance(data, list) and data and all(type(value) in (int, float) for value in data):
        return [float(value) for value in data]
    if not isinstance(data, dict):
        raise ValueError(file_problem(path, rule, "other JSON", CURE))
    weights = statistics_from_dict(data, path).class_weights
    if not weights:
        raise ValueError(
            file_problem(path, "statistics with training labels", "none", "Check a config that has a train_dataloader.")
        )
    return weights[DEFAULT_WEIGHTING].tolist()
