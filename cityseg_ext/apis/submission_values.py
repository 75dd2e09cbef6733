"""Whether the values of label maps are official ids, or class indices by mistake."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cityseg_ext.apis.submission_findings import Refused, mapping_cure
from cityseg_ext.checks import shorten
from cityseg_ext.labels import IGNORE_INDEX, LABEL_BY_ID, LABELS, TAXONOMIES, Taxonomy

Counts = dict[str, np.ndarray]

_SHARE_OF_VOID = 0.1
# No model predicts these ids; as class indices they are sidewalk, building and other large classes.
_VOID_IDS = [
    label.id
    for label in LABELS
    if label.id > 0 and not any(label.id in taxonomy.index_to_id for taxonomy in TAXONOMIES.values())
]
_IGNORED_IDS = [label.id for label in LABELS if label.ignore_in_eval and label.id >= 0]


def find_wrong_values(counts: Counts) -> Iterator[Refused]:
    """What is wrong with the values of label maps.

    Files with much of void ids that nobody predicts are taken for class indices by mistake, if one of the package's
    numberings has all their values.

    Args:
        counts: file -> pixels of each value, int64 (256,).
    """
    suspects = {name: own for name, own in counts.items() if own[_VOID_IDS].sum() >= _SHARE_OF_VOID * own.sum()}
    taxonomy = _explain(suspects)
    if taxonomy is not None:
        yield from (Refused("train ids", name, mapping_cure(taxonomy)) for name in suspects)
        counts = {name: own for name, own in counts.items() if name not in suspects}
    for name, own in counts.items():
        strange = [value for value in np.flatnonzero(own).tolist() if value not in LABEL_BY_ID]
        if strange:
            found = shorten([f"{value}: {own[value]} pixels" for value in strange], 3)
            yield Refused("ids", f"{name} ({found})")
    total = sum(counts.values(), np.zeros(256, np.int64))
    for number in _IGNORED_IDS:
        if total[number]:
            share = f"{total[number] / total.sum():.3%} of all pixels"
            yield Refused("ignored", f"{LABEL_BY_ID[number].name} ({number}): {share}")


def _explain(suspects: Counts) -> Taxonomy | None:
    """The smallest numbering of classes that has all values of these files; None if there is none, or no file."""
    values = set(np.flatnonzero(sum(suspects.values(), np.zeros(256, np.int64))).tolist()) - {IGNORE_INDEX}
    for taxonomy in sorted(TAXONOMIES.values(), key=lambda taxonomy: taxonomy.num_classes):
        if values and max(values) < taxonomy.num_classes:
            return taxonomy
    return None
