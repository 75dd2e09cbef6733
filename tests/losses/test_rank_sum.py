"""The loss of several processes is that of one with all their images."""

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from mmseg.registry import MODELS
from ranks import on_ranks
from torch import nn
from torch.nn.parallel import DistributedDataParallel

CLASSES, SIZE = 4, (9, 7)
SHARES = {2: [3, 1], 3: [2, 1, 3]}  # images of each rank: unequal, as a last batch may be
CASES = {
    "defaults": {},
    "class weights, absent classes count": dict(class_weight=[1.0, 0.0, 2.0, 3.0], absent="count"),
    "Dice of each image": dict(dice_pool="image"),
    "half the weight": dict(loss_weight=0.4, smooth=0.0),
    "cross-entropy": dict(type="WeightedCrossEntropyLoss", class_weight=[1.0, 0.5, 2.0, 3.0]),
}


def batch(images):
    """Features and labels, much void; the last two images have none but void, class 3 is in the first alone."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(images, 3, *SIZE, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, CLASSES - 1, (images, *SIZE), generator=generator)
    labels[0, :3] = CLASSES - 1
    labels[torch.rand(labels.shape, generator=generator) < torch.linspace(0, 0.9, images)[:, None, None]] = 255
    labels[-1:] = 255
    return features, labels


def model():
    torch.manual_seed(1)
    return nn.Conv2d(3, CLASSES, 1).double()


def value_and_gradient(module, loss, features, labels, **options):
    value = loss(module(features), labels, **options)
    value.backward()
    return value.detach(), torch.cat([weight.grad.flatten() for weight in module.parameters()])


def compare(config, how):
    """Differences of (value, gradient) from one process with all images; and what this rank computed."""
    rank, world_size = dist.get_rank(), dist.get_world_size()
    shares = SHARES[world_size]
    features, labels = batch(sum(shares))
    options = {}
    if how == "upsampled":
        features, options = features[:, :, ::2, ::2], dict(align_corners=False)
    if how == "void":
        labels.fill_(255)
    loss = MODELS.build(dict(dict(type="FocalDiceLoss"), **config)).double()
    loss.sync_ranks = False
    expected = value_and_gradient(model(), loss, features, labels, **options)
    loss.sync_ranks = how != "apart"
    own = slice(sum(shares[:rank]), sum(shares[: rank + 1]))
    if how == "plain":  # a weight that has a gradient has the plain version
        options["weight"] = torch.ones(shares[rank], *SIZE, dtype=torch.float64, requires_grad=True)
    got = value_and_gradient(DistributedDataParallel(model()), loss, features[own], labels[own], **options)
    return [(a - b).abs().max().item() for a, b in zip(got, expected, strict=True)], got, expected


def compare_all():
    results = {}
    for name, config in CASES.items():
        for how in ("fused", "plain", "upsampled", "void", "apart"):
            results[name, how] = compare(config, how)
    if dist.get_rank() == 0:  # in evaluation nobody waits for the others
        MODELS.build(dict(type="FocalDiceLoss")).double().eval()(model()(batch(1)[0]), batch(1)[1])
    return results


@pytest.mark.parametrize("world_size", SHARES)
def test_value_and_gradient_are_those_of_one_process(world_size, tmp_path):
    ranks = on_ranks(world_size, tmp_path, compare_all)
    for (name, how), (differences, (value, gradient), (_, expected)) in ranks[0].items():
        if how == "apart":
            assert max(differences) > 1e-3, (name, "the option does nothing")
            continue
        assert max(differences) < 1e-12, (name, how, differences)
        assert (expected.abs().max() > 1e-3) == (how != "void"), (name, how)
        if how == "void":
            assert value == 0 and not gradient.any()
        for other in ranks[1:]:
            assert torch.equal(other[name, how][1][0], value) and torch.equal(other[name, how][1][1], gradient)


def test_one_process_waits_for_nobody():
    """Without a process group a collective call would raise."""
    features, labels = batch(2)
    loss = MODELS.build(dict(type="WeightedCrossEntropyLoss", sync_ranks=True)).double()
    logits = model()(features)
    torch.testing.assert_close(loss(logits, labels), F.cross_entropy(logits, labels, ignore_index=255))
