"""What a refiner has changed, as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from prettytable import PrettyTable

from cityseg_ext.metrics.before_refinement import BEFORE

MEANS = ("mIoU", "mDice", "aAcc", "mBoundaryIoU", "mBoundaryF", "mThinRecall")
KINDS = ("IoU", "BoundaryF", "ThinRecall")


def refinement_table(metrics: Mapping[str, float]) -> str | None:
    """Scores before and after refinement, in per cent: the means, and those of each class.

    Args:
        metrics: of a test run, fractions of 1.

    Returns:
        The table; None if nothing was scored before a refinement.

    Example:
        >>> print(refinement_table({'before/mIoU': 0.5, 'mIoU': 0.625}))
        +-------+--------+-------+--------+
        | score | before | after | change |
        +-------+--------+-------+--------+
        | mIoU  |  50.00 | 62.50 | +12.50 |
        +-------+--------+-------+--------+
    """
    names = [name for name in MEANS if BEFORE + name in metrics]
    names += [name for kind in KINDS for name in metrics if name.startswith(f"{kind}/") and BEFORE + name in metrics]
    if not names:
        return None
    table = PrettyTable(["score", "before", "after", "change"], align="r")
    table.align["score"] = "l"
    for place, name in enumerate(names):
        before, after = 100 * metrics[BEFORE + name], 100 * metrics[name]
        kind = name.partition("/")[0]
        last = place + 1 < len(names) and names[place + 1].partition("/")[0] != kind and names[place + 1] not in MEANS
        table.add_row([name, f"{before:.2f}", f"{after:.2f}", f"{after - before:+.2f}"], divider=last)
    return str(table)
