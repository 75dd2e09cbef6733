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


def official_scores(images, evaluated, categories, sizes):
    """Class and category IoU and iIoU, pixel by pixel and object by object, from the published definitions.

    ``images``: (predicted ids, true ids, instance ids) each; ``evaluated``: the ids that count; ``categories``:
    name -> (all ids of it, whether all of them have instances); ``sizes``: mean object size by id.
    """
    pairs = [(p, t) for pred, true, _ in images for p, t in zip(pred.flat, true.flat, strict=True) if t in evaluated]
    objects = []
    for pred, _, instances in images:
        for number in sorted(set(instances[instances > 1000].tolist())):
            if number // 1000 in evaluated:
                objects.append((number // 1000, pred[instances == number].tolist()))

    def share(hit, miss, false):
        return hit / (hit + miss + false) if hit + miss + false else np.nan

    def weighted(members, right):
        hit = miss = 0.0
        for label, guesses in objects:
            if label in members:
                weight = sizes[label] / len(guesses)
                hit += weight * sum(guess in right(label) for guess in guesses)
                miss += weight * sum(guess not in right(label) for guess in guesses)
        return hit, miss

    iou, iiou, category_iou, category_iiou = {}, {}, {}, {}
    for k in evaluated:
        false = sum(p == k and t != k for p, t in pairs)
        iou[k] = share(sum(p == k == t for p, t in pairs), sum(t == k != p for p, t in pairs), false)
        iiou[k] = share(*weighted({k}, lambda label: {label}), false) if k in sizes else np.nan
    for name, (members, all_instances) in categories.items():
        inside = [k for k in members if k in evaluated]
        if not inside:
            continue
        true = [(p, t) for p, t in pairs if t in inside]
        hit = sum(p in inside for p, _ in true)
        others = [p for p, t in pairs if t not in inside]
        category_iou[name] = share(hit, len(true) - hit, sum(p in inside for p in others))
        false = sum(p in members for p in others)
        instanced = weighted(set(inside), lambda _, members=members: set(members))
        category_iiou[name] = share(*instanced, false) if all_instances else np.nan
    return iou, iiou, category_iou, category_iiou


def _same_near(mask, void, row, column, distance):
    """Whether all that is so near is of the mask or void; outside the image: void where its nearest pixel is."""
    height, width = mask.shape
    for y in range(row - distance, row + distance + 1):
        for x in range(column - distance, column + distance + 1):
            inside_y, inside_x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
            if void[inside_y, inside_x]:
                continue
            if (y, x) != (inside_y, inside_x) or not mask[y, x]:
                return False
    return True


def boundary_iou(pred, target, index, distance, ignore_index=255):
    """Pixels of one class whose surroundings are not all of the class: their IoU (arXiv:2103.16562, eq. 1)."""
    void = target == ignore_index
    bands = []
    for labels in (pred, target):
        mask = (labels == index) & ~void
        bands.append({(y, x) for y, x in np.argwhere(mask).tolist() if not _same_near(mask, void, y, x, distance)})
    union = bands[0] | bands[1]
    return len(bands[0] & bands[1]) / len(union) if union else np.nan


def boundary_f(pred, target, index, tolerance, ignore_index=255):
    """Contour pixels of one class that have one of the other contour within a radius: harmonic mean of both shares."""
    void = target == ignore_index
    contours = []
    for labels in (pred, target):
        points = []
        for y, x in np.argwhere((labels == index) & ~void).tolist():
            around = np.s_[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
            if ((labels[around] != index) & ~void[around]).any():
                points.append((y, x))
        contours.append(points)
    if not any(contours):
        return np.nan
    shares = []
    for own, other in (contours, contours[::-1]):
        met = sum(any((y - v) ** 2 + (x - u) ** 2 <= tolerance**2 for v, u in other) for y, x in own)
        shares.append(met / len(own) if own else 0.0)
    return 2 * shares[0] * shares[1] / sum(shares) if sum(shares) else 0.0


def thin_structures(target, width, ignore_index=255):
    """Pixels that no square of width + 1 covers whose labelled pixels are all of the pixel's class."""
    thin = target != ignore_index
    side = width + 1
    for top in range(-width, target.shape[0]):
        for left in range(-width, target.shape[1]):
            square = target[max(top, 0) : top + side, max(left, 0) : left + side]
            if len(set(square[square != ignore_index].tolist())) <= 1:
                thin[max(top, 0) : top + side, max(left, 0) : left + side] = False
    return thin


def calibration_error(probabilities, target, bins, ignore_index=255):
    """Per bin of confidence: |right share - mean confidence|, weighted by the share of pixels."""
    members = {}
    for y, x in np.argwhere(target != ignore_index).tolist():
        p = probabilities[:, y, x]
        number = next(b for b in range(bins) if p.max() <= (b + 1) / bins or b == bins - 1)
        members.setdefault(number, []).append((p.argmax() == target[y, x], p.max()))
    total = sum(map(len, members.values()))
    return sum(
        len(part) / total * abs(np.mean([right for right, _ in part]) - np.mean([p for _, p in part]))
        for part in members.values()
    )


def dense_crf(
    image, p, steps, smooth_weight, smooth_sigma, appearance_weight, appearance_sigma_xy, appearance_sigma_rgb
):
    """Mean field inference with the kernels of all pairs of pixels, in float64; p has the shape (C, H, W)."""
    classes, height, width = p.shape
    rows, columns = np.mgrid[:height, :width]
    place = np.stack([rows, columns], axis=2).reshape(-1, 2).astype(np.float64)
    colour = image.reshape(-1, 3).astype(np.float64)

    def kernel(*features):
        exponent = sum(((f[:, None] - f[None]) ** 2).sum(axis=2) for f in features)
        k = np.exp(-exponent / 2)
        norm = 1 / np.sqrt(k.sum(axis=1))
        return norm[:, None] * k * norm[None]

    pairs = smooth_weight * kernel(place / smooth_sigma)
    pairs = pairs + appearance_weight * kernel(place / appearance_sigma_xy, colour / appearance_sigma_rgb)
    log_p = np.log(np.maximum(p.astype(np.float64), np.finfo(np.float32).tiny)).reshape(classes, -1)
    q = np.exp(log_p) / np.exp(log_p).sum(axis=0)
    for _ in range(steps):
        logits = log_p + q @ pairs
        q = np.exp(logits - logits.max(axis=0))
        q /= q.sum(axis=0)
    return q.reshape(p.shape)
