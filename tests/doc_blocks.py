"""The code blocks of the documents, and the folder in which they run as they stand."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import cv2
from conftest import ROOT, TINY

DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
SHELLS = ("bash", "sh")
PROGRAMS = ("python", "pip", "make", "mim", "sbatch")
SCRIPTS = [str(path.relative_to(ROOT)) for folder in ("tools", "tests") for path in (ROOT / folder).rglob("*.sh")]

RUN = "work_dirs/deeplabv3_focaldice"
BEST = "best_mDice_epoch_20.pth"
"""The one run that there is and its checkpoint; all others are copies."""
STANDS_FOR = {
    "CONFIG": "configs/deeplabv3_focaldice.py",
    "CHECKPOINT": f"{RUN}/{BEST}",
    "PREDICTIONS": "label_maps",
    "PHOTOS": "photos",
    "CAMVID": "data/cityscapes",
    "DATA": "data/cityscapes",
    "/data/cityscapes": "data/cityscapes",
    "data/camvid": "data/cityscapes",
    "cityseg/deeplabv3_focaldice.py": "configs/deeplabv3_focaldice.py",
    "./deeplabv3_r18_focaldice.py": "./configs/deeplabv3_r18_focaldice.py",
}
"""What readers put in place of these words."""
SMALLEST = ["--num-epochs", "1", "--image-size", "64", "128", "--num-workers", "0"]
"""Written behind every training command; what else makes it quick is in the configs of the folder."""


@dataclass(frozen=True)
class Block:
    """A fenced block: the document's name, the line of its fence, its language and its text, placeholders filled."""

    document: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"

    def commands(self, folder: Path) -> list[list[str]]:
        """The words of every command, as bash itself splits the block in this folder; nothing is run.

        Programs are shell functions that write their words down; one without such a function is an error. Patterns such
        as ``best_*.pth`` match what is in the folder before.
        """
        record = "{ printf '%s\\0' \"$@\" $'\\x1e'; }"
        lines = ["set -eu", "PATH=/nowhere", "source() { :; }"]  # the environment is active already
        lines += [f'{name}() {{ record {name} "$@"; }}' for name in (*PROGRAMS, *SCRIPTS)]
        script = "\n".join([f"record() {record}", *lines, self.text])
        done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and not done.stderr, f"{self}: {done.stderr}"
        assert done.stdout, f"{self}: no command"
        return [command.split("\0")[:-1] for command in done.stdout.split("\x1e\0")[:-1]]


def blocks_of(path: Path) -> list[Block]:
    """The fenced blocks of a document; an indented fence has indented lines."""
    found, text = [], path.read_text()
    for match in re.finditer(r"^( *)```(.*)\n((?:.*\n)*?)\1```$", text, re.M):
        lines = [line.removeprefix(match[1]) for line in match[3].splitlines()]
        found.append(Block(path.name, text[: match.start()].count("\n") + 1, match[2], fill("\n".join(lines) + "\n")))
    assert 2 * len(found) == len(re.findall("^ *```", text, re.M)), f"{path.name}: a fence that is not closed"
    return found


def fill(text: str) -> str:
    """Put what they stand for in place of placeholders."""
    words = "|".join(map(re.escape, STANDS_FOR))
    return re.sub(rf"(?<!\w)(?:{words})(?![\w.])", lambda match: STANDS_FOR[match[0]], text)


BLOCKS = [block for path in DOCUMENTS for block in blocks_of(path)]
PYTHON = [block for block in BLOCKS if block.language == "python"]
SHELL = [block for block in BLOCKS if block.language in SHELLS]


def all_texts(folder: Path) -> list[str]:
    """Every command, its words with a blank between them, and every block of Python."""
    commands = [" ".join(command) for block in SHELL for command in block.commands(folder)]
    return commands + [block.text for block in PYTHON]


def write_folder(folder: Path, city: Path) -> None:
    """Write what the documents speak of, made small: configs, data, photographs, a video, runs and checkpoints.

    The current folder must be this one: paths in configs and logs stay true in its copies, as they are relative.
    """
    from cityseg_ext.apis import load_config, test, train
    from cityseg_ext.apis.dataset_check import check_dataset
    from cityseg_ext.apis.publish import publish
    from cityseg_ext.apis.synthetic_pairs import write_synthetic_pairs

    _write_data(folder, city)
    write_synthetic_pairs(folder / "data/cityscapes_pairs", train=2, val=1, size=40)
    (folder / "configs").mkdir()
    for path in sorted((ROOT / "configs").glob("*.py")):
        resnet = dict(pretrained="none", cfg_options=TINY | {"model.backbone.depth": 18})
        small = dict(unet_width=4, unet_depth=2) if path.name.startswith("unet") else resnet
        options = dict(work_dir=f"work_dirs/{path.stem}", image_size=(64, 128), num_workers=0, batch_size=2)
        load_config(str(path), **options, **small).dump(folder / "configs" / path.name)
    cfg = load_config(STANDS_FOR["CONFIG"], num_epochs=1)
    best = train(cfg).checkpoint.rename(f"{RUN}/{BEST}")
    test(cfg, str(best), report=True)
    check_dataset(cfg)
    publish(cfg, str(best), "published", "unet_ce").checkpoint.rename("published/unet_ce-0123abcd.pth")
    shutil.copy(best, "best.pth")
    text = "\n".join(all_texts(folder))
    for name in set(re.findall(r"\bwork_dirs/(\w+)(?![\w.])", text)) - {Path(RUN).name}:
        shutil.copytree(RUN, f"work_dirs/{name}", ignore=shutil.ignore_patterns("epoch_*"))
    for path in set(re.findall(r"\bwork_dirs/\w+/best_mDice_epoch_\d+\.pth", text)) - {str(best)}:
        shutil.copy(best, path)


def _write_data(folder: Path, city: Path) -> None:
    shutil.copytree(city, folder / "data/cityscapes")
    shutil.copytree(city / "gtFine/val", folder / "label_maps", ignore=shutil.ignore_patterns("*_color.png"))
    photos = [cv2.imread(str(path)) for path in sorted((city / "leftImg8bit/val").rglob("*.png"))]
    for name in ("street.jpg", "photos/1.jpg", "drive/monday/1.jpg", "frames/9.jpg", "frames/10.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), photos[0])
    video = cv2.VideoWriter(str(folder / "drive.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, photos[0].shape[1::-1])
    for photo in photos:
        video.write(photo)
    video.release()
    labels = [f"cityscapes/{path.relative_to(city)}" for path in sorted((city / "gtFine/train").rglob("*_color.png"))]
    pairs = [label.replace("gtFine_color", "gtFine").replace("gtFine", "leftImg8bit") + f",{label}" for label in labels]
    (folder / "data/train.csv").write_text("\n".join(pairs))
