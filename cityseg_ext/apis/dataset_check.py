"""All problems of a data set at once, before training; and its class statistics, kept for losses and samplers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from cityseg_ext.apis.dataset_listing import list_samples
from cityseg_ext.apis.dataset_report import draw_histogram
from cityseg_ext.apis.dataset_scan import scan
from cityseg_ext.apis.dataset_statistics import (
    HISTOGRAM,
    STATISTICS,
    WEIGHTS,
    check_ours,
    save_statistics,
)
from cityseg_ext.functional.dataset_statistics import DatasetStatistics
from cityseg_ext.statistics_file import load_statistics
from cityseg_ext.whole_file import check_writable, inside


@dataclass(frozen=True, eq=False)
class DatasetCheck:
    """The outcome of a check.

    Attributes:
        statistics: counts and problems.
        cached: whether they were made by an earlier call; no file was opened then.
        path: ``stats.json``.
        histogram: the picture of the class shares.
        weights: the files of class weights by name of the weighting.
    """

    statistics: DatasetStatistics
    cached: bool
    path: Path
    histogram: Path
    weights: dict[str, Path]


def check_dataset(
    cfg: Config,
    out_dir: str | Path | None = None,
    use_cache: bool = True,
    num_workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DatasetCheck:
    """Check the data sets of a config as training will see them, and count their classes.

    Errors are what training would stop at or learn wrongly from: missing folders, files without partner, unreadable
    files, labels of another size than their photograph, colours or ids that are in no table, photographs that loading
    turns by their EXIF tag while their label stays, an image of train in another split. Warnings: the same image twice
    in a split or in both val and test, labels without a labelled pixel, classes that a split lacks, and what the config
    says to tolerate.

    Images are the same if their pixels are. JPEG copies of another quality are not found.

    Args:
        cfg: a config from :func:`~cityseg_ext.apis.config.load_config`.
        out_dir: where the results go; by default ``dataset`` in the config's ``work_dir``.
        use_cache: take the results of an earlier call from there, if no file was added, removed or changed since
            (by names, sizes and times) and all is read in the same way.
        num_workers: processes; 0 reads in this one, None takes one a core.
        progress: called with (images done, images in all).

    Returns:
        Statistics, problems, and where they were written.

    Raises:
        FileNotFoundError, ValueError: if the config is wrong, if none of its data sets can be listed, or if the folder
            holds foreign files of our names.
        OSError: if the folder cannot be written.
    """
    listing = list_samples(cfg)
    folder = Path(out_dir or inside("work_dir", cfg.work_dir, Path("dataset", STATISTICS)).parent)
    check_writable("out_dir", str(folder))
    check_ours(folder)
    statistics = _read_cache(folder / STATISTICS, listing.fingerprint()) if use_cache else None
    cached = statistics is not None
    if statistics is None:
        statistics = scan(listing, num_workers, progress)
    weights = {name: folder / WEIGHTS[name] for name in statistics.class_weights}
    results = [folder / STATISTICS, folder / HISTOGRAM, *weights.values()]
    if not cached or not all(path.is_file() for path in results):
        save_statistics(statistics, folder)
        draw_histogram(statistics, folder / HISTOGRAM)
    return DatasetCheck(statistics, cached, folder / STATISTICS, folder / HISTOGRAM, weights)


def _read_cache(path: Path, fingerprint: str) -> DatasetStatistics | None:
    try:
        statistics = load_statistics(path)
    except (OSError, ValueError):  # none yet, or of another version: it is made anew
        return None
    return statistics if statistics.fingerprint == fingerprint else None
