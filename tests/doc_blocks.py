"""The code blocks of the documents, and the folder in which they run as they stand."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import cv2
from conftest import ROOT, TINY

DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
PROGRAMS = ("python", "pip", "make", "mim", "sbatch")
SCRIPTS = [str(path.relative_to(ROOT)) for folder in ("tools", "tests") for path in (ROOT / folder).rglob("*.sh")]

RUN = "work_dirs/deeplabv3_focaldice"
"""The one run that there is; every checkpoint and every other run is a copy of it."""
STANDS_FOR = {
    "CONFIG": "configs/deeplabv3_focaldice.py",
    "CHECKPOINT": f"{RUN}/best.pth",
    "PREDICTIONS": "label_maps",
    "PHOTOS": "photos",
    "CAMVID": "data/cityscapes",
    "DATA": "data/cityscapes",
    "/data/cityscapes": "data/cityscapes",
    "data/camvid": "data/cityscapes",
    "cityseg/deeplabv3_focaldice.py": "configs/deeplabv3_focaldice.py",
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
        """The words of every command, as bash itself splits the block in this folder; nothing is run."""
        record = "{ printf '%s\\0' \"$@\" $'\\x1e'; }"
        lines = ["set -eu", "PATH=/nowhere", "source() { :; }"]  # the environment is active already
        lines += [f'{name}() {{ record {name} "$@"; }}' for name in (*PROGRAMS, *SCRIPTS)]
        script = "\n".join([f"record() {record}", *lines, self.text])
        done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and not done.stderr, f"{self}: {done.stderr}"
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
    return re.sub(rf"(?<![\w/])(?:{words})(?![\w.])", lambda match: STANDS_FOR[match[0]], text)


BLOCKS = [block for path in DOCUMENTS for block in blocks_of(path)]


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
    text = "".join(block.text for block in BLOCKS)
    (folder / "configs").mkdir()
    for name in set(re.findall(r"\bconfigs/(\w+\.py)", text)):
        deeplab = dict(pretrained="none", cfg_options=TINY | {"model.backbone.depth": 18})
        small = deeplab if name.startswith("deeplab") else dict(unet_width=4, unet_depth=2)
        options = dict(work_dir=f"work_dirs/{Path(name).stem}", image_size=(64, 128), num_workers=0, batch_size=2)
        load_config(str(ROOT / "configs" / name), num_epochs=1, **options, **small).dump(folder / "configs" / name)
    cfg = load_config(STANDS_FOR["CONFIG"])
    best = train(cfg).checkpoint
    test(cfg, str(best), report=True)
    check_dataset(cfg)
    publish(cfg, str(best), "published", "unet_ce").checkpoint.rename("published/unet_ce-0123abcd.pth")
    shutil.copy(best, "best.pth")
    best.rename(f"{RUN}/best.pth")
    for name in set(re.findall(r"\bwork_dirs/(\w+)(?![\w.])", text)) - {Path(RUN).name}:
        shutil.copytree(RUN, f"work_dirs/{name}")
    for path in set(re.findall(r"\bwork_dirs/\w+/best_mDice_epoch_\d+\.pth", text)):
        shutil.copy("best.pth", path)


def _write_data(folder: Path, city: Path) -> None:
    shutil.copytree(city, folder / "data/cityscapes")
    shutil.copytree(city / "leftImg8bit/val", folder / "data/cityscapes/leftImg8bit/test")
    shutil.copytree(city / "gtFine/val", folder / "label_maps", ignore=shutil.ignore_patterns("*_color.png"))
    photos = [cv2.imread(str(path)) for path in sorted((city / "leftImg8bit/val").rglob("*.png"))]
    for name in ("street.jpg", "photos/1.jpg", "drive/monday/1.jpg", "frames/9.jpg", "frames/10.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), photos[0])
    video = cv2.VideoWriter(str(folder / "drive.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, photos[0].shape[1::-1])
    for photo in photos:
        video.write(photo)
    video.release()
    labels = sorted(path.relative_to(city) for path in (city / "gtFine/train").rglob("*_color.png"))
    trees = [tuple(f"cityscapes/{path}".replace("gtFine", tree) for tree in ("leftImg8bit", "gtFine")) for path in labels]
    rows = [f"{photo.replace('_leftImg8bit_color', '_leftImg8bit')},{label}\n" for photo, label in trees]
    (folder / "data/train.csv").write_text("".join(rows))
