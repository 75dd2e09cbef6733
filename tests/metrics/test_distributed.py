"""The same numbers to the last bit from one, two and three processes."""

import os
import pickle

import cv2
import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.dataset import DefaultSampler

from cityseg_ext.labels import INSTANCE_SUFFIX, LABEL_BY_NAME, LABEL_SUFFIXES

CLASSES = ["road", "pole", "sky", "car"]
NUM_CLASSES = len(CLASSES)


def images(count):
    generator = torch.Generator().manual_seed(0)
    for index in range(count):
        shape = (5 + index, 8 - index % 3)
        logits = torch.randn(NUM_CLASSES, *shape, generator=generator)
        target = torch.randint(0, NUM_CLASSES, shape, generator=generator)
        target[0] = 255
        label = f"{index}{LABEL_SUFFIXES['label_ids']}"
        yield dict(
            img_path=f"{index}.png",
            seg_map_path=label,
            seg_logits=dict(data=logits),
            pred_sem_seg=dict(data=logits.argmax(0, keepdim=True)),
            gt_sem_seg=dict(data=target[None]),
        )


def write_instances(count, folder):
    """Once for all ranks: one that writes while another reads would be a race."""
    ids = torch.tensor([LABEL_BY_NAME[name].id for name in CLASSES])
    for index, sample in enumerate(images(count)):
        target = sample["gt_sem_seg"]["data"][0]
        objects = ids[target.clamp(max=NUM_CLASSES - 1)] * (1 + 999 * (target == 3)) + target % 3
        cv2.imwrite(str(folder / f"{index}{INSTANCE_SUFFIX}"), objects.numpy().astype(np.uint16))


def evaluate(rank, world_size, count, folder):
    os.chdir(folder)
    if world_size > 1:
        store = f"file://{folder}/store-{world_size}"
        dist.init_process_group("gloo", store, rank=rank, world_size=world_size)
    from mmengine.registry import init_default_scope
    from mmseg.registry import METRICS, MODELS

    import cityseg_ext.plugin  # noqa: F401

    init_default_scope("mmseg")
    dice = METRICS.build(dict(type="DiceMetric", table=False))
    street = METRICS.build(dict(type="StreetSceneMetric"))
    street.dataset_meta = dice.dataset_meta = dict(classes=CLASSES)
    loss = METRICS.build(dict(type="ValidationLoss"))
    losses = dict(type="FocalDiceLoss"), dict(type="CrossEntropyLoss", avg_non_ignore=True)
    loss.bind([MODELS.build(config) for config in losses])
    samples = list(images(count))
    for index in DefaultSampler(samples, shuffle=False):  # pads the last round by repeating samples
        for metric in (dice, loss, street):
            metric.process(None, [samples[index]])
    result = dice.evaluate(count) | loss.evaluate(count) | street.evaluate(count)
    with open(f"{world_size}-{rank}.pkl", "wb") as file:
        pickle.dump(result, file)
    if world_size > 1:
        dist.barrier()  # none may leave while another still talks to it
        os._exit(0)  # gloo's threads sometimes abort in the interpreter's own exit


@pytest.mark.parametrize("count", [5, 7])
def test_ranks_do_not_matter(count, tmp_path):
    write_instances(count, tmp_path)
    results = []
    for world_size in (1, 2, 3):
        if world_size == 1:
            directory = os.getcwd()
            evaluate(0, 1, count, tmp_path)
            os.chdir(directory)
        else:
            mp.start_processes(evaluate, (world_size, count, tmp_path), nprocs=world_size, start_method="spawn")
        for rank in range(world_size):
            results.append(pickle.loads((tmp_path / f"{world_size}-{rank}.pkl").read_bytes()))
    assert {"mDice", "mIoU", "val/loss", "val/dice", "ECE", "mBoundaryF", "official/miIoU"} <= set(results[0])
    assert all(result == results[0] for result in results)
