"""Reading the statistics of a data set: registered rooms and ``apis`` need it alike."""

from __future__ import annotations

import json
from pathlib import Path

from cityseg_ext.checks import file_problem
from cityseg_ext.functional.dataset_statistics import CURE, DatasetStatistics, statistics_from_dict


def load_statistics(path: str | Path) -> DatasetStatistics:
    """Read statistics that ``tools/check_dataset.py`` wrote.

    Args:
        path: ``stats.json``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is something else, of another version, or damaged.
    """
    return statistics_from_dict(read_json(path, "dataset statistics"), path)


def read_json(path: str | Path, rule: str) -> object:
    """The values in a JSON file of ``tools/check_dataset.py``.

    Args:
        path: the file.
        rule: what it is to hold, for error messages.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no JSON.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(file_problem(path, rule, "no file", CURE))
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:  # of JSON, or of UTF-8
        raise ValueError(file_problem(path, rule, f"no JSON ({error})", CURE)) from error
