import io
import json
import runpy
import signal
import sys

import numpy as np
import pytest
from conftest import ROOT, TINY
from PIL import Image
from rich.console import Console

from cityseg_ext.apis import load_config
from cityseg_ext.apis.step_benchmark import benchmark_step, use_synthetic_scenes
from cityseg_ext.apis.step_report import as_dict, as_tables, conclusion, write_step_report
from cityseg_ext.apis.step_times import PARTS, WAIT, StepBenchmark, StepTimes

CONFIG = str(ROOT / "configs" / "deeplabv3_r18_focaldice.py")
SIZE = dict(image_size=(64, 128), batch_size=2)


@pytest.fixture(scope="module")
def measured(tiny_city, tmp_path_factory):
    """Config, benchmark and progress of two steps of a tiny model; more than what is timed is switched on."""
    fields = TINY | {"custom_hooks": [dict(type="EarlyStoppingHook", monitor="mDice")]}
    work = tmp_path_factory.mktemp("work")
    cfg = load_config(CONFIG, data_root=str(tiny_city), work_dir=str(work), num_workers=0, cfg_options=fields, **SIZE)
    before, seen, listening = cfg.pretty_text, [], signal.getsignal(signal.SIGINT)

    def progress(*arguments):
        seen.append(arguments)
        assert signal.getsignal(signal.SIGINT) is listening  # Ctrl-C ends it, and does not save first

    found = benchmark_step(cfg, steps=2, warm_up=1, progress=progress)
    assert cfg.pretty_text == before
    assert not any(work.iterdir())
    return cfg, found, seen


def test_every_part_is_timed(measured):
    _, found, _ = measured
    names = [transform["type"] for transform in measured[0].train_pipeline]
    assert list(found.loading) == names
    assert all(len(seconds) == 4 and min(seconds) > 0 for seconds in found.loading.values())
    first = found.runs[0]
    assert first.workers == 0 and len(first.steps) == 2 and first.batch_size == 2
    for name in PARTS:
        assert min(first.part(name)) > 0, name
    assert set().union(*first.steps) == set(PARTS)
    assert [run.workers for run in found.runs] == list(range(len(found.runs)))


def test_progress_ends_at_the_end(measured):
    _, _, seen = measured
    assert seen[-1][0] == seen[-1][1]
    assert all(done < total for done, total in seen[:-1])


def test_report(measured, tmp_path):
    cfg, found, _ = measured
    values = as_dict(found, cfg)
    data, picture = write_step_report(values, tmp_path / "a folder")
    assert json.loads(data.read_text()) == json.loads(json.dumps(values))
    for rows in (values["loading_per_image"], values["step"]):
        assert sum(row["share"] for row in rows) == pytest.approx(1)
    assert values["image_size"] == (64, 128) and values["steps"] == 2 and values["peak_memory_bytes"] > 2**20
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
    text = io.StringIO()
    for table in as_tables(values):
        Console(file=text, width=120).print(table)
    for name in (*PARTS, "collate", "LoadStreetImage", "images/s"):
        assert name in text.getvalue()
    assert "Loader workers: " in conclusion(values) and "Peak memory: " in conclusion(values)


def times(workers, wait, compute):
    return StepTimes(workers, 4, [{WAIT: wait, "forward": compute * 0.75, "loss": compute * 0.25}] * 3)


def test_what_follows_from_the_times():
    runs = (times(2, 0.0, 1.0), times(0, 2.2, 1.0), times(1, 0.5, 1.0))
    found = StepBenchmark(dict(a=[0.3, 0.5], b=[0.1]), [0.2], runs, None, "")
    assert found.load_seconds == pytest.approx(4 * 0.5 + 0.2)
    assert found.workers_predicted == 3
    assert found.workers_measured == 2
    assert runs[1].wait_share == pytest.approx(2.2 / 3.2) and runs[1].images_per_second == pytest.approx(4 / 3.2)
    assert runs[1].compute == pytest.approx(1)
    slow = StepBenchmark(dict(a=[1.0]), [0.0], runs[1:], None, "")
    assert slow.workers_measured is None
    cfg = load_config(CONFIG)
    assert "none of the 2 numbers tried is enough" in conclusion(as_dict(slow, cfg))
    assert "Peak" not in conclusion(as_dict(slow, cfg))


@pytest.mark.parametrize(("options", "name"), [(dict(steps=0), "steps"), (dict(), "compile")])
def test_what_cannot_be_timed_is_refused(options, name):
    cfg = load_config(CONFIG, cfg_options=dict(compile=True))
    with pytest.raises(ValueError, match=f"`{name}`"):
        benchmark_step(cfg, **options)


@pytest.mark.parametrize("config", ["deeplabv3_r18_focaldice.py", "unet_pairs_256.py"])
def test_built_in_scenes_take_the_place_of_data(config, tmp_path, monkeypatch):
    monkeypatch.setattr("cityseg_ext.apis.step_benchmark._SCENE", (64, 128))
    monkeypatch.setattr("cityseg_ext.apis.step_benchmark._SCENES", 1)
    monkeypatch.setattr("cityseg_ext.apis.step_benchmark._IMAGES", 1)
    cfg = load_config(str(ROOT / "configs" / config), work_dir=str(tmp_path))
    use_synthetic_scenes(cfg)
    assert cfg.train_dataloader.dataset.data_root.startswith(str(tmp_path / "synthetic"))


def test_tool(tiny_city, tmp_path, monkeypatch, capsys):
    def run(*options):
        fields = [f"{name}={value}" for name, value in TINY.items()]
        size = ["--image-size", "64", "128", "--batch-size", "2", "--num-workers", "0", "--work-dir", str(tmp_path)]
        steps = ["--steps", "1", "--warm-up", "0"]
        monkeypatch.setattr(sys, "argv", ["benchmark.py", CONFIG, *steps, *size, *options, "--cfg-options", *fields])
        monkeypatch.syspath_prepend(ROOT / "tools")
        runpy.run_path(str(ROOT / "tools" / "benchmark.py"), run_name="__main__")

    run("--data-root", str(tiny_city), "--out", str(tmp_path / "out"))
    printed = capsys.readouterr().out
    last = printed.strip().splitlines()[-1]
    assert last == f"Wrote {tmp_path / 'out' / 'step.json'} and {tmp_path / 'out' / 'step.png'}"
    for name in (*PARTS, "LoadColorMaskAnnotations"):
        assert name in printed
    with pytest.raises(SystemExit):
        run("--data-root", str(tmp_path / "nowhere"))
    message = capsys.readouterr().err
    assert "nowhere" in message and "--synthetic" in message
