"""Every code block of README.md and docs/*.md does what it says: it is run as it stands, or the table says why not."""

import argparse
import re
import runpy
import shlex
import shutil
import sys

import pytest
from conftest import ROOT, leave_out_what_is_slow
from doc_blocks import BLOCKS, PYTHON, SHELL, SHELLS, SMALLEST, all_texts, write_folder

NOT_RUN = {
    "make setup": "downloads",
    "make demo": "trains for minutes; tests/test_tools.py runs the script",
    "make test": "is what runs here",
    "pip install": "downloads",
    "python -m cityseg_ext doctor": "tests/test_doctor.py examines this environment",
    "--wandb offline": "starts processes of its own; tests/visualization/test_trackers.py",
    "mim ": "is a program of its own; tests/test_package.py looks at what it needs",
    "tests/compat/run_classic.sh": "downloads",
    "tools/dist_": "starts processes; tests/tools/test_dist.py does",
    "sbatch ": "needs SLURM; tests/tools/test_slurm_train.py has a stand-in",
    "python benchmarks/": "measures for minutes",
    "python tools/benchmark.py ": "measures; tests/apis/test_step_benchmark.py",
    "python tools/demo.py ": "serves until Ctrl-C; tests/apis/test_demo.py",
    "python tools/infer.py 0 ": "needs a camera",
    "python tools/train_mask_decoder.py ": "trains for minutes; tests/apis/test_mask_decoder_training.py",
    "python tools/cityscapes_submit.py --check": "needs 1525 label maps; tests/apis/test_submission_check.py",
    "configs/deeplabv3plus_r18_camvid.py work_dirs": "needs its checkpoint; tests/test_configs.py trains it",
    "--split test": "needs 1525 photographs; tests/apis/test_submission.py",
    "Bicyclist=(": "tests/test_own_palette.py trains it",
    'dict(type="AmpOptimWrapper")': "alternatives, one needs CUDA; tests/apis/test_training_features.py tries them",
}
"""Part of a command or Python block -> why it is not run, and which test does instead; it is parsed all the same."""
NO_CODE = {"text": "what a command prints", "mermaid": "a drawing"}
STARTS = {
    r"tools/dist_train\.sh (\S+) \d+": r"python tools/train.py \1",
    r"tools/dist_test\.sh (\S+ \S+) \d+": r"python tools/test.py \1",
    r"sbatch .*?tools/slurm_train\.sh": "python tools/train.py",
    r"mim train cityseg_ext (\S+)": r"python tools/train.py configs/\1",
    r"mim test cityseg_ext (\S+) -C (\S+)": r"python tools/test.py configs/\1 \2",
    r"mim run cityseg_ext (\S+)": r"python tools/\1.py",
}
"""What a launcher starts: its options are those of the script."""
NOT_PARSED = ("mim search cityseg_ext", "tests/compat/run_classic.sh")
"""Exceptions in which no script of ours reads the words."""
EXTRAS = dict.fromkeys(("onnx", "onnxscript", "onnxruntime"), "tools/export.py") | dict(tensorboard="--tensorboard")
"""Optional package -> the word of a command that needs it: without it the rest of the block is skipped."""


class ParsedError(Exception):
    """The words of a command have been parsed; to leave before it does anything."""


def reason(text):
    return next((why for part, why in NOT_RUN.items() if part in text), None)


@pytest.fixture(scope="module")
def template(tiny_city, tmp_path_factory):
    folder = tmp_path_factory.mktemp("documents")
    with pytest.MonkeyPatch.context() as patch:
        leave_out_what_is_slow(patch)
        patch.chdir(folder)
        write_folder(folder, tiny_city)
    return folder


@pytest.fixture
def folder(template, tmp_path, monkeypatch, quick):
    """A copy of what the documents speak of, as the current folder."""
    copy = shutil.copytree(template, tmp_path / "copy")
    monkeypatch.chdir(copy)
    for scripts in ("tools", "benchmarks"):
        monkeypatch.syspath_prepend(str(ROOT / scripts))
    monkeypatch.setenv("CITYSEG_TRACEBACK", "1")  # an error is this test's
    monkeypatch.setenv("LOCAL_RANK", "0")  # scripts set it
    yield copy
    shutil.rmtree(copy)  # there are many


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_commands(block, folder, monkeypatch):
    for command in block.commands(folder):
        if reason(" ".join(command)) is None:
            run(command, monkeypatch)
        else:
            parse(command, monkeypatch)


def run(command, monkeypatch):
    """Run a Python command in this process."""
    for package, word in EXTRAS.items():
        if word in command:
            pytest.importorskip(package)
    assert command[0] == "python", f"neither run nor in the table of exceptions: {shlex.join(command)}"
    smallest = SMALLEST if command[1] == "tools/train.py" else []
    try:
        if command[1] == "-m":
            monkeypatch.setattr(sys, "argv", command[2:])
            runpy.run_module(command[2], run_name="__main__")
        else:
            monkeypatch.setattr(sys, "argv", [*command[1:], *smallest])
            runpy.run_path(str(ROOT / command[1]), run_name="__main__")
    except SystemExit as stop:
        assert not stop.code, f"{shlex.join(command)} ended with {stop.code}"


def parse(command, monkeypatch):
    """Have the script's own parser read a command; of others, look up what they name."""
    line = shlex.join(command)
    for launcher, script in STARTS.items():
        line = re.sub(f"^{launcher}", script, line)
    program, *words = shlex.split(line)
    if program == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M)
        assert set(words) <= set(targets), line
    elif program == "pip":
        names = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.M)
        assert set(re.findall(r"\[(\w+)\]", line)) <= set(names), line
    elif program == "python":
        with monkeypatch.context() as patch:
            original = argparse.ArgumentParser.parse_args

            def leave(parser):
                original(parser)
                raise ParsedError

            patch.setattr(argparse.ArgumentParser, "parse_args", leave)
            with pytest.raises(ParsedError):
                run([program, *words], patch)
    else:
        assert line in NOT_PARSED, f"nothing is known of {line}"


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python(block, folder):
    """A block with imports is a program; others are parts of a config, which trains and is tested."""
    from cityseg_ext.apis import load_config, test, train

    if re.search("^(?:from|import) ", block.text, re.M):
        exec(compile(block.text, str(block), "exec"), {})
        return
    base = "" if "_base_ =" in block.text else "_base_ = './configs/deeplabv3_focaldice.py'\n"
    (folder / "mine.py").write_text(base + block.text)
    cfg = load_config("mine.py", num_epochs=1)
    if reason(block.text) is None:
        test(cfg, str(train(cfg).checkpoint))


def test_blocks_say_what_they_are():
    known = {*SHELLS, "python", *NO_CODE}
    assert not [f"{block}: {block.language}" for block in BLOCKS if block.language not in known]


def test_exceptions_are_true(tmp_path):
    texts = all_texts(tmp_path)
    for part, why in NOT_RUN.items():
        assert any(part in text for text in texts), part
        for name in re.findall(r"tests/[\w/]+\.py", why):
            assert (ROOT / name).is_file(), name
