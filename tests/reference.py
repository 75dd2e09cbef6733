"""Slow, obvious versions of the maths, written from the definitions and sharing no code with the package."""

import numpy as np


def confusion(pred, target, num_classes, ignore_index=255):
    counts = np.zeros((num_classes, num_classes), np.int64)
    for p, t in zip(pred.ravel().tolist(), target.ravel().tolist(), strict=True):
        if t != ignore_index:
            counts[t, p] += 1
    return counts


def dice(pred, target, index, ignore_index=255):
    """Dice of one class from two sets of pixels."""
    labelled = target != ignore_index
    a, b = (pred == index) & labelled, (target == index) & labelled
    return np.nan if not (a.any() or b.any()) else 2 * (a & b).sum() / (a.sum() + b.sum())


def iou(pred, target, index, ignore_index=255):
    labelled = target != ignore_index
    a, b = (pred == index) & labelled, (target == index) & labelled
    return np.nan if not (a.any() or b.any()) else (a & b).sum() / (a | b).sum()


def focal_dice(
    logits, target, gamma=2.0, weight=None, focal_weight=1.5, dice_weight=1.0, pool="batch", absent="skip", smooth=1.0
):
    """The loss by loops over pixels, in float64."""
    logits, (n, c, h, w) = np.asarray(logits, np.float64), np.shape(logits)
    weight = np.ones(c) if weight is None else np.asarray(weight, np.float64)
    focal_sum = norm = 0.0
    inter, pred, true = np.zeros((n, c)), np.zeros((n, c)), np.zeros((n, c))
    for i in range(n):
        for y in range(h):
            for x in range(w):
                t = target[i, y, x]
                if t == 255:
                    continue
                e = np.exp(logits[i, :, y, x] - logits[i, :, y, x].max())
                p = e / e.sum()
                focal_sum += -weight[t] * (1 - p[t]) ** gamma * np.log(p[t])
                norm += weight[t]
                inter[i, t] += p[t]
                pred[i] += p
                true[i, t] += 1
    focal = focal_sum / norm if norm else 0.0
    if pool == "batch":
        inter, pred, true = inter.sum(0)[None], pred.sum(0)[None], true.sum(0)[None]
    rows = []
    for a, b, t in zip(inter, pred, true, strict=True):
        if t.sum() == 0:
            continue
        members = [k for k in range(c) if absent == "count" or t[k] > 0]
        losses = [1 - (2 * a[k] + smooth) / (b[k] + t[k] + smooth) for k in members]
        rows.append(np.average(losses, weights=weight[members]))
    dice_term = float(np.mean(rows)) if rows else 0.0
    return focal_weight * focal + dice_weight * dice_term
