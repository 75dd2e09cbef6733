"""The official evaluation script, where it is installed: ``pip install --no-deps cityscapesScripts pyquaternion``."""

import numpy as np
import pytest


def official():
    """The module; skips the test where it is missing."""
    if not hasattr(np, "in1d"):
        np.in1d = np.isin  # removed in NumPy 2.4; the script still calls it
    name = "cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling"
    return pytest.importorskip(name, reason="cityscapesScripts is not installed")


def official_scores(predictions, truths, instances=True):
    """Everything that the script computes for lists of PNG files with label ids."""
    script = official()
    script.args.evalInstLevelScore = instances
    script.args.JSONOutput = False
    script.args.quiet = True
    return script.evaluateImgLists([str(path) for path in predictions], [str(path) for path in truths], script.args)


SCORES = ("classScores", "classInstScores", "categoryScores", "categoryInstScores")
AVERAGES = ("averageScoreClasses", "averageScoreInstClasses", "averageScoreCategories", "averageScoreInstCategories")


def assert_equal_scores(scores, expected, tolerance=1e-12, instances=True):
    """Our ``CityscapesScores`` and the script's dict; returns the largest difference.

    Without instances the script gives iIoU as 0 where it is not computed; there is nothing to compare.
    """
    step = 1 if instances else 2
    largest, pairs = 0.0, []
    for mean, name in list(zip(scores.means.values(), AVERAGES, strict=True))[::step]:
        pairs.append((mean, expected[name]))
    for part, name in list(zip(scores, SCORES, strict=True))[::step]:
        pairs += [(part.get(key, float("nan")), value) for key, value in expected[name].items()]
        assert set(part) <= set(expected[name])
    for ours, theirs in pairs:
        assert np.isnan(ours) == np.isnan(theirs)
        if not np.isnan(ours):
            largest = max(largest, abs(ours - theirs))
    assert largest <= tolerance
    return largest
