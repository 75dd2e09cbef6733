"""The model card of a published checkpoint: Markdown that says what is known, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TITLES = {
    "mDice": "mean Dice",
    "mIoU": "mean IoU",
    "aAcc": "pixel accuracy",
    "mBoundaryIoU": "mean boundary IoU",
    "ECE": "calibration error (ECE)",
    "val/loss": "loss",
}


def model_card(meta: Mapping[str, Any], file: str, sha256: str, size: int, parameters: int) -> str:
    """Describe a published checkpoint.

    Args:
        meta: what :func:`~cityseg_ext.apis.publish.publish` writes into the file.
        file: its name.
        sha256: its hash.
        size: its length in bytes.
        parameters: how many numbers its tensors have.

    Returns:
        Markdown.
    """
    config = meta["config"]
    model = config["model"]
    names = meta["dataset_meta"]["classes"]
    head = model["decode_head"]
    facts = dict(
        File=f"`{file}`, {size / 1e6:.1f} MB",
        SHA256=f"`{sha256}`",
        Model=f"{model['type']}: {model['backbone']['type']} and {head['type']}",
        Size=f"{parameters / 1e6:.2f} million weights",
        Config=f"`{meta['config_name']}`" if meta["config_name"] else None,
        Image=_image(meta["image_size"]),
        Training=_training(meta["training"]),
        Weights=meta["training"].get("weights"),
    )
    sections = [
        f"# {meta['name']}",
        "Semantic segmentation of street scenes: a class for every pixel of a photograph from a car.",
        _table(("", ""), [(key, value) for key, value in facts.items() if value is not None]),
        "## Intended use",
        "Research and teaching on street scenes like those it was trained on, and as a start for training on others. "
        "It was not tested for, and must not be used for, decisions in traffic.",
        "## How to run",
        "The file has its config and classes in it, as data: nothing else is needed, and nothing in it is executed.",
        f"```bash\npython tools/infer.py street.jpg {file}\n"
        f"python tools/export.py {file}    # ONNX, for tools/run_onnx.py\n```",
        "## Scores",
        _scores(meta["scores"]),
        "## Classes",
        f"{len(names)} classes" + (f" (`{meta['taxonomy']}`)" if meta["taxonomy"] else "") + ":",
        _classes(names, meta["scores"].get("classes")),
        "## Data",
        _data(meta),
        "## Limits",
        "Scores hold for photographs like those of the data above. Expect worse in other countries, by night, in rain "
        "or snow, and from other cameras or heights. Every pixel gets one of the classes, also where none fits.",
        "## Licence",
        "The code is under the Apache License 2.0. "
        + (f"The weights: {meta['licence']}." if meta["licence"] else "None is stated for the weights.")
        + " The terms of the data may limit what they may be used for.",
        "## Versions",
        ", ".join(f"{name} {version}" for name, version in meta["versions"].items()) + " (when published)",
    ]
    return "\n\n".join(sections) + "\n"


def _table(header: tuple[str, ...], rows: list[tuple]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _image(size: tuple[int, int] | None) -> str | None:
    return f"predicted at {size[0]}x{size[1]} (height x width)" if size else None


def _training(training: Mapping[str, Any]) -> str | None:
    known = [f"{name} {training[name]}" for name in ("epoch", "iteration", "seed") if name in training]
    ended = [f"saved on {training['date']}"] if "date" in training else []
    return ", ".join(known + ended) or None


def _scores(scores: Mapping[str, Any]) -> str:
    rows = [
        (title, f"{scores['values'][key]:.4f}")
        for key, title in _TITLES.items()
        if scores and scores["values"].get(key) is not None
    ]
    if not rows:
        return "None are known."
    return f"Fractions of 1, from the {scores['source']}:\n\n" + _table(("score", "value"), rows)


def _classes(names: list[str], rows: list[Mapping[str, Any]] | None) -> str:
    if not rows:
        return ", ".join(names) + "."
    cells = [
        (row["name"], *("–" if row[key] is None else f"{row[key]:.4f}" for key in ("Dice", "IoU"))) for row in rows
    ]
    return _table(("class", "Dice", "IoU"), cells)


def _data(meta: Mapping[str, Any]) -> str:
    found = meta["data"]["fingerprint"]
    read = f"Read by `{meta['data']['type']}`."
    return f"{read} Fingerprint of the files (`tools/check_dataset.py`): `{found}`." if found else read
