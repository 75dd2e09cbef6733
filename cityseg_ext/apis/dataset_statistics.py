"""The files of a data set's statistics, written whole or not at all; ``statistics_file`` reads them."""

from __future__ import annotations

import json
from pathlib import Path

from cityseg_ext.checks import file_problem, shorten
from cityseg_ext.functional.class_statistics import WEIGHTINGS
from cityseg_ext.functional.dataset_statistics import FORMAT, DatasetStatistics, statistics_to_dict
from cityseg_ext.statistics_file import read_json
from cityseg_ext.whole_file import write_whole

STATISTICS = "stats.json"
HISTOGRAM = "class_histogram.png"
WEIGHTS = {name: f"class_weights_{name}.json" for name in WEIGHTINGS}


def save_statistics(statistics: DatasetStatistics, folder: str | Path) -> Path:
    """Write ``stats.json``, and each weighting as a plain list that mmseg's losses read too.

    mmseg's ``CrossEntropyLoss`` takes class weights with ``avg_non_ignore=False`` only (with True, version 1.4.2 ends
    in an IndexError); it then is the weighted mean over labelled pixels.

    Args:
        statistics: what to write.
        folder: made if it is not there.

    Returns:
        The path of ``stats.json``.

    Raises:
        ValueError: if the folder holds files of these names that are not ours.
    """
    folder = Path(folder)
    check_ours(folder)
    folder.mkdir(parents=True, exist_ok=True)
    data = statistics_to_dict(statistics)
    # A line a part, so that a person can read the file although the counts make it long. It is written first, because
    # it marks the other files as ours.
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}" for key, value in data.items())
    write_whole(folder / STATISTICS, f"{{\n{lines}\n}}\n".encode())
    for name, file in WEIGHTS.items():
        if name in data["class_weights"]:
            write_whole(folder / file, json.dumps(data["class_weights"][name]).encode())
        else:
            (folder / file).unlink(missing_ok=True)  # of an earlier run that had training labels
    return folder / STATISTICS


def check_ours(folder: Path) -> None:
    """Refuse to replace files of our names that somebody else wrote; ours stand beside our ``stats.json``.

    Raises:
        ValueError: naming the files.
    """
    there = [name for name in (STATISTICS, HISTOGRAM, *WEIGHTS.values()) if (folder / name).exists()]
    if not there:
        return
    try:
        data = read_json(folder / STATISTICS, "dataset statistics")
    except (OSError, ValueError):
        data = None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        rule = f"a folder without {shorten(there)}, or with a '{STATISTICS}' of check_dataset beside"
        raise ValueError(file_problem(folder, rule, "one with foreign files", "Choose another folder (--out)."))
