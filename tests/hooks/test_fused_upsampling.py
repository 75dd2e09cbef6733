import copy
import io
import logging
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT
from mmengine.structures import PixelData
from mmseg.registry import HOOKS, MODELS
from mmseg.structures import SegDataSample

from cityseg_ext.apis.config import load_config

NARROW = dict(
    deeplabv3_r18_focaldice=dict(
        backbone=dict(base_channels=8, stem_channels=8),
        decode_head=dict(in_channels=64, channels=8),
        auxiliary_head=dict(in_channels=32, channels=8),
    ),
    unet_focaldice=dict(
        backbone=dict(base_channels=4),
        decode_head=dict(in_channels=4, channels=4),
        auxiliary_head=dict(in_channels=8, channels=4),
    ),
)
NARROW["deeplabv3plus"] = copy.deepcopy(NARROW["deeplabv3_r18_focaldice"])
NARROW["deeplabv3plus"]["decode_head"] |= dict(
    type="DepthwiseSeparableASPPHead", c1_in_channels=8, c1_channels=4, in_channels=64
)


@pytest.fixture(params=list(NARROW))
def model_cfg(request, monkeypatch):
    monkeypatch.chdir(ROOT)
    base = "deeplabv3_r18_focaldice" if request.param == "deeplabv3plus" else request.param
    cfg = load_config(f"configs/{base}.py")
    cfg.merge_from_dict(dict(model=NARROW[request.param]))
    cfg.model.backbone.init_cfg = None
    return cfg.model


def step(model, seed=0):
    """Losses and gradients of one training step."""
    torch.manual_seed(seed)
    images = torch.randn(2, 3, 64, 64)
    labels = torch.randint(0, 5, (2, 1, 8, 8)).repeat_interleave(8, 2).repeat_interleave(8, 3)
    labels[:, :, :9] = 255
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label)) for label in labels]
    model.zero_grad()
    losses = model.loss(images, samples)
    sum(value for name, value in losses.items() if "loss" in name).backward()
    return losses, {name: weight.grad.clone() for name, weight in model.named_parameters()}


def fuse(model):
    stream = io.StringIO()
    logger = logging.Logger("test")
    logger.addHandler(logging.StreamHandler(stream))
    HOOKS.build(dict(type="FusedUpsamplingHook")).before_train(SimpleNamespace(model=model, logger=logger))
    return stream.getvalue()


def test_a_step_is_the_ordinary_one(model_cfg):
    torch.manual_seed(0)
    model = MODELS.build(model_cfg).double().train()
    model.loss = lambda images, samples, call=model.loss: call(images.double(), samples)
    names = list(model.state_dict())
    before, gradients = step(model)
    assert fuse(model).count("inside the loss") == 2
    after, fused_gradients = step(model)
    assert list(after) == list(before) and list(model.state_dict()) == names
    for name, value in before.items():
        if "loss" in name:
            torch.testing.assert_close(after[name], value)
        else:
            assert abs(after[name] - value) < 10  # the accuracy of small logits is about that of large ones
    for name, gradient in gradients.items():
        torch.testing.assert_close(fused_gradients[name], gradient, msg=name)


OHEM = dict(type="OHEMPixelSampler", thresh=0.7, min_kept=10)


@pytest.mark.parametrize(
    "options",
    [
        dict(loss_decode=dict(type="CrossEntropyLoss")),
        dict(loss_decode=[dict(type="FocalDiceLoss"), dict(type="CrossEntropyLoss", loss_name="loss_ce")]),
        dict(loss_decode=dict(type="FocalDiceLoss"), sampler=OHEM),
    ],
    ids=str,
)
def test_other_losses_and_samplers_keep_mmsegs_way(options):
    head = dict(type="FCNHead", in_channels=8, channels=4, num_classes=3, in_index=0, num_convs=1, concat_input=False)
    model = SimpleNamespace(decode_head=MODELS.build(head | options))
    original = model.decode_head.loss_by_feat
    assert "decode_head: upsampling before the loss" in fuse(model)
    assert model.decode_head.loss_by_feat == original
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.randint(0, 3, (1, 8, 8))))
    losses = model.decode_head.loss((torch.randn(1, 8, 4, 4),), [sample], {})
    assert all(torch.isfinite(value).all() for value in losses.values())


def test_several_losses_of_our_own_are_each_upsampled():
    losses = [dict(type="FocalDiceLoss"), dict(type="WeightedCrossEntropyLoss")]
    head = dict(type="FCNHead", in_channels=8, channels=4, num_classes=3, in_index=0, num_convs=1, concat_input=False)
    model = SimpleNamespace(decode_head=MODELS.build(head | dict(loss_decode=losses, align_corners=True)).eval())
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.randint(0, 3, (1, 9, 8))))
    features = (torch.randn(1, 8, 4, 4),)
    before = model.decode_head.loss(features, [sample], {})
    assert "inside" in fuse(model)
    after = model.decode_head.loss(features, [sample], {})
    for name in ("loss_focaldice", "loss_ce"):
        torch.testing.assert_close(after[name], before[name])
