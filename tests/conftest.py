import importlib.util
import os
import signal
import sys
from pathlib import Path

import pytest
import torch

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the models are tiny, and threads wait for each other on a busy machine
if not torch.cuda.is_available():
    os.environ.setdefault(
        "TRITON_INTERPRET", "1"
    )  # for processors, if Triton is installed; before its kernels are read

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]  # for `import reference`, and for processes that tests start elsewhere
SHARED = ROOT.parent / "shared"
TINY = {
    "model.backbone.base_channels": 8,
    "model.backbone.stem_channels": 8,
    "model.decode_head.in_channels": 64,
    "model.decode_head.channels": 8,
    "model.auxiliary_head.in_channels": 32,
    "model.auxiliary_head.channels": 8,
    "default_hooks.logger.interval": 1,
}
"""Fields that make `deeplabv3_r18_focaldice.py` a model of a few thousand weights, whose every step is logged."""


def leave_out_what_is_slow(patch):
    """Whole runs without what costs them seconds and is mmengine's: its list of the environment, configs laid out."""
    patch.setattr("mmengine.runner.runner.collect_env", dict)
    for place in ("yapf.yapflib.yapf_api", "mmengine.config.config"):  # of the maintained line, of the upstream one
        patch.setattr(f"{place}.FormatCode", lambda text, **_: (text, True), raising=False)


@pytest.fixture
def quick(monkeypatch):
    """Whole runs are quick."""
    leave_out_what_is_slow(monkeypatch)


@pytest.fixture(scope="session")
def camvid():
    """Real photographs with labels; not part of the project."""
    folder = SHARED / "camvid_cityscapes"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: this test needs real photographs")
    return folder


@pytest.fixture(scope="session")
def tiny_city(tmp_path_factory):
    """A synthetic Cityscapes tree: 4 train and 3 val scenes of 64x128."""
    from cityseg_ext.apis.synthetic_cityscapes import write_synthetic_cityscapes

    return write_synthetic_cityscapes(tmp_path_factory.mktemp("data") / "tiny", train=4, val=3, height=64, width=128)


@pytest.fixture(scope="session")
def tiny_pairs(tmp_path_factory):
    """Synthetic image pairs: 4 train and 2 val PNG files of 40x80, whose sides UNet must pad to multiples of 16."""
    from cityseg_ext.apis.synthetic_pairs import write_synthetic_pairs

    root = tmp_path_factory.mktemp("data") / "pairs"
    return write_synthetic_pairs(root, train=4, val=2, size=40, resize="nearest", quality=None)


@pytest.fixture(scope="session")
def tiny_model(tiny_city, tmp_path_factory):
    """Paths of a config and of a checkpoint for the tiny city: a model of a few thousand random weights."""
    import torch
    from mmengine.registry import init_default_scope
    from mmseg.registry import MODELS

    from cityseg_ext.apis.config import load_config
    from cityseg_ext.labels import CITYSCAPES_19

    folder = tmp_path_factory.mktemp("tiny_model")
    cfg = load_config(
        str(ROOT / "configs" / "deeplabv3_r18_focaldice.py"),
        data_root=str(tiny_city),
        work_dir=str(folder / "work"),
        image_size=(64, 128),
        num_workers=0,
        cfg_options=TINY,
    )
    init_default_scope("mmseg")
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=CITYSCAPES_19.metainfo)), folder / "tiny.pth")
    cfg.dump(folder / "tiny.py")
    return str(folder / "tiny.py"), str(folder / "tiny.pth")


@pytest.fixture
def run_tool(monkeypatch, tmp_path, capsys):
    """Run a script of tools/ in a new folder and in this process; gives the lines that it has printed.

    A process of its own needs seconds to start; those tests have one that look at exit codes, signals and errors.
    """
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    monkeypatch.chdir(tmp_path)

    def call(script, *options):
        monkeypatch.setattr(sys, "argv", [f"{script}.py", *map(str, options)])
        specification = importlib.util.spec_from_file_location(f"tool_{script}", ROOT / "tools" / f"{script}.py")
        tool = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(tool)
        tool.main()
        return capsys.readouterr().out.splitlines()

    return call


@pytest.fixture(autouse=True)
def _registered():
    """Everything is registered, and registries look names up in mmseg's scope, as in a run."""
    try:
        from mmengine.registry import init_default_scope
        from mmengine.utils.manager import _lock
    except ImportError:  # the pure rooms are tested without OpenMMLab too
        yield
        return
    import cityseg_ext.plugin  # noqa: F401

    init_default_scope("mmseg")
    yield
    # Whoever keeps it makes a later test that trains in a thread wait for ever.
    assert not _lock._is_owned(), "this test has left mmengine's lock locked"


@pytest.fixture(autouse=True)
def _signals():
    """Handlers that a run leaves behind would keep children of later tests from being terminated."""
    numbers = signal.SIGINT, signal.SIGTERM
    before = [signal.getsignal(number) for number in numbers]
    yield
    after = [signal.getsignal(number) for number in numbers]
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)
    assert after == before, "this test has left a handler of signals"
