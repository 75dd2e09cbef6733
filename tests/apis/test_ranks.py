"""Whole runs with one, two and three processes."""

import json
import os
from datetime import timedelta
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist
from conftest import ROOT, TINY
from mmengine.config import Config
from mmengine.dist import barrier
from mmengine.hooks import Hook
from ranks import on_ranks

from cityseg_ext.apis.checkpoint import read_checkpoint
from cityseg_ext.apis.config import load_config
from cityseg_ext.apis.ranks import join_processes
from cityseg_ext.apis.runner import build_runner
from cityseg_ext.apis.runs import test as run_test
from cityseg_ext.apis.runs import train
from cityseg_ext.apis.synthetic_cityscapes import write_synthetic_cityscapes

JOINT = 6  # images of all ranks in a step
# Nothing that depends on how images are shared out: no dropout, no random crops, no statistics of a batch.
GROUPS = dict(type="GN", num_groups=2)
ALIKE = {
    "model.backbone.norm_cfg": GROUPS,
    "model.decode_head.norm_cfg": GROUPS,
    "model.auxiliary_head.norm_cfg": GROUPS,
    "model.decode_head.dropout_ratio": 0.0,
    "model.auxiliary_head.dropout_ratio": 0.0,
    "train_dataloader.dataset.pipeline": [
        dict(type="LoadStreetImage"),
        dict(type="LoadColorMaskAnnotations"),
        dict(type="Resize", scale=(128, 64)),
        dict(type="PackSegInputs"),
    ],
}


def config(city, work_dir, epochs=2, launcher="pytorch", changes=ALIKE, **options):
    os.chdir(ROOT)
    ranks = dist.get_world_size() if dist.is_initialized() else 1
    return load_config(
        "configs/deeplabv3_r18_focaldice.py",
        data_root=str(city),
        work_dir=str(work_dir),
        image_size=(64, 128),
        batch_size=JOINT // ranks,
        num_epochs=epochs,
        num_workers=0,
        launcher=launcher,
        cfg_options=TINY | changes,
        **options,
    )


def outcome(result, epoch=2):
    """Weights, logged training losses, and scores of a run."""
    barrier()  # until the first process has written them
    lines = [json.loads(line) for line in result.scalars.read_text().splitlines()]
    state = read_checkpoint(str(result.work_dir / f"epoch_{epoch}.pth"))["state_dict"]
    losses = [line["loss"] for line in lines if "loss" in line]
    return state, losses, [line for line in lines if "mDice" in line][-1]


def brief(function):
    """Without what costs most in a run this short: laying out the config for each checkpoint, and drawing curves."""
    for name, instead in (
        ("yapf.yapflib.yapf_api.FormatCode", lambda text, **options: (text, True)),
        ("cityseg_ext.apis.runs._draw_curves", lambda runner: None),
    ):
        function = patch(name, instead)(function)
    return function


@brief
def run_alone(city, work_dir):
    result = train(config(city, work_dir, launcher="none"))
    torch.save(outcome(result), work_dir / "outcome.pt")


@brief
def run_two(city, alone, work_dir):
    """DDP, where BatchNorm is not asked to agree; FSDP that goes on from a run of one; evaluation."""
    results = {"ddp": outcome(train(config(city, work_dir)))}
    resumed = train(config(city, work_dir.with_name("fsdp"), fsdp=True), resume=str(alone / "epoch_1.pth"))
    results["fsdp"] = outcome(resumed)
    results["scores"] = run_test(config(city, work_dir.with_name("test")), str(alone / "epoch_2.pth")).metrics
    runner = build_runner(config(city, work_dir.with_name("bn"), 1, changes={}))
    runner.train()
    results["statistics"] = {name: value for name, value in runner.model.named_buffers() if "running" in name}
    results["val/loss"] = runner.message_hub.get_scalar("val/val/loss").current()
    return results


class NaNOnOneRank(Hook):
    """The second rank's gradient of one weight is NaN in the second step."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        weight = next(runner.model.parameters())
        if dist.get_rank() == 1 and runner.iter == 1:
            handle = weight.register_hook(lambda gradient: (gradient * torch.nan, handle.remove())[0])


@brief
def run_with_nan(city, work_dir):
    """Weights of each rank after three steps, and how many updates were skipped."""
    runner = build_runner(config(city, work_dir, 2, changes=ALIKE | {"train_dataloader.dataset.max_images": 9}))
    runner.register_hook(NaNOnOneRank())
    runner.train()
    weights = {name: value.detach() for name, value in runner.model.named_parameters()}
    return weights, runner.message_hub.get_info("skipped_updates")


@brief
def run_three(city, two, work_dir):
    """DDP that goes on from a run of two, and from the start; evaluation."""
    results = {"resumed": outcome(train(config(city, work_dir), resume=str(two / "epoch_1.pth")))}
    results["ddp"] = outcome(train(config(city, work_dir.with_name("anew"))))
    results["scores"] = run_test(config(city, work_dir.with_name("test")), str(two / "epoch_2.pth")).metrics
    return results


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    return write_synthetic_cityscapes(tmp_path_factory.mktemp("ranks") / "city", train=12, val=4, height=64, width=128)


@pytest.fixture(scope="module")
def alone(city, tmp_path_factory):
    """The work dir of a run with one process."""
    folder = tmp_path_factory.mktemp("alone")
    on_ranks(1, folder, run_alone, city, folder / "work")
    return folder / "work"


@pytest.fixture(scope="module")
def two(city, alone, tmp_path_factory):
    """What the processes of a run of two have seen, and their work dir."""
    folder = tmp_path_factory.mktemp("two")
    return on_ranks(2, folder, run_two, city, alone, folder / "work"), folder / "work"


def assert_same(got, work_dir):
    """The run ends as that of one process did, from where it began."""
    (state, losses, scores), (state_1, losses_1, scores_1) = got, torch.load(work_dir / "outcome.pt", weights_only=True)
    assert losses == pytest.approx(losses_1[-len(losses) :], rel=1e-5)
    assert state.keys() == state_1.keys()
    for name, value in state_1.items():
        torch.testing.assert_close(state[name], value, rtol=1e-3, atol=1e-5, msg=name)
    assert scores["val/loss"] == pytest.approx(scores_1["val/loss"], rel=1e-5)
    assert scores["mDice"] == pytest.approx(scores_1["mDice"], abs=1e-3)


def test_two_and_three_processes_train_as_one(alone, city, two, tmp_path):
    of_two, work_dir = two
    assert len(of_two[0]["ddp"][1]) == 4 and len(of_two[0]["fsdp"][1]) == 2  # steps
    for kind in ("ddp", "fsdp"):
        assert_same(of_two[0][kind], alone)
    of_three = on_ranks(3, tmp_path, run_three, city, work_dir, tmp_path / "work")
    for kind in ("ddp", "resumed"):
        assert_same(of_three[0][kind], alone)
    scores = [rank["scores"] for rank in (*of_two, *of_three)]
    assert all(score == pytest.approx(scores[0], rel=1e-4, abs=1e-4) for score in scores)
    assert scores[0] == scores[1] and scores[2] == scores[3] == scores[4]


def test_processes_validate_one_model(two):
    """Each has its own BatchNorm statistics while it trains, without a GPU."""
    (first, second), _ = two
    assert first["val/loss"] == second["val/loss"] and first["statistics"]
    for name, value in first["statistics"].items():
        assert torch.equal(value, second["statistics"][name]), name


def test_nan_on_one_rank_is_skipped_by_all(city, tmp_path):
    (weights, skipped), (weights_1, skipped_1) = on_ranks(2, tmp_path, run_with_nan, city, tmp_path / "work")
    assert skipped == skipped_1 == 1
    for name, value in weights.items():
        assert value.isfinite().all() and torch.equal(value, weights_1[name]), name


@pytest.mark.parametrize(
    ("launcher", "message"), [("pytorch", "RANK. Use tools/dist_train.sh"), ("slurm", "SLURM_PROCID. Use its own")]
)
def test_a_launcher_that_was_not_there_is_told(launcher, message, monkeypatch):
    for name in ("RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=f"`launcher` .* without the variable {message}"):
        join_processes(Config(dict(launcher=launcher)))


@pytest.mark.parametrize(
    ("launcher", "names"),
    [
        ("slurm", ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")),
        ("mpi", ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK")),
    ],
)
def test_every_launcher_tells_processes_their_place(launcher, names, monkeypatch):
    places = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    for name in (*places, "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "0")
        monkeypatch.delenv(name)
    for name, value in zip((*names, "SLURM_JOB_ID"), ("5", "8", "1", "1234567"), strict=True):
        monkeypatch.setenv(name, value)
    with patch("torch.distributed.init_process_group") as init:
        join_processes(Config(dict(launcher=launcher, env_cfg=dict(dist_cfg=dict(backend="gloo", timeout=60)))))
    init.assert_called_once_with("gloo", timeout=timedelta(seconds=60))
    assert [os.environ[name] for name in places] == ["5", "8", "1"]
    assert os.environ["MASTER_PORT"] == ("24567" if launcher == "slurm" else "20000")


def test_one_process_has_nobody_to_share_with(city, tmp_path):
    with pytest.raises(ValueError, match="`fsdp` to be used with several processes, .* tools/dist_train.sh"):
        config(city, tmp_path, launcher="none", fsdp=True)
