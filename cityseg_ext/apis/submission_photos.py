"""The photographs of a split that the benchmark wants label maps for; no label is needed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from PIL import Image

from cityseg_ext.checks import check_choice, expected, file_problem, shorten
from cityseg_ext.datasets.files import find_files
from cityseg_ext.labels import FRAME_NAME, IMAGE_SIZE, PHOTO_SUFFIXES, SPLIT_CITIES, SPLIT_IMAGES
from cityseg_ext.transforms.image_file import unreadable

SPLITS = tuple(SPLIT_CITIES)


def find_photos(data_root: str, split: str, suffixes: str | Sequence[str] = PHOTO_SUFFIXES) -> dict[str, str]:
    """The photographs in ``leftImg8bit/<split>``.

    Args:
        data_root: the folder that holds ``leftImg8bit``.
        split: ``'test'`` or ``'val'``.
        suffixes: how names of photographs end, one or several.

    Returns:
        ``<city>_<sequence>_<frame>`` -> path, sorted.

    Raises:
        FileNotFoundError: if there is no such folder, or no photograph in it.
        ValueError: if a name is of another form, or two photographs have one name: the evaluation pairs by it.
    """
    check_choice("split", split, SPLITS)
    suffixes = (suffixes,) if isinstance(suffixes, str) else tuple(suffixes)
    folder = os.path.join(data_root, "leftImg8bit", split)
    stems = find_files(
        folder,
        suffixes,
        root=data_root,
        what="photographs",
        root_cure="Give the folder that holds leftImg8bit (--data-root).",
        suffix_cure="Name them as Cityscapes does.",
    )
    photos: dict[str, str] = {}
    for stem, path in sorted(stems.items()):
        key = os.path.basename(stem)
        named = FRAME_NAME.fullmatch(key)
        if named is None or named.group(1) != key:
            rule = f"named <city>_<six digits>_<six digits>{suffixes[0]}, for predictions are found by that"
            raise ValueError(file_problem(path, rule, f"'{key}'"))
        if key in photos:
            raise ValueError(file_problem(path, "the only photograph of its name", f"another: '{photos[key]}'"))
        photos[key] = path
    return dict(sorted(photos.items()))


def photo_size(path: str) -> tuple[int, int]:
    """(H, W) of a photograph; only its header is read, and ``ValueError`` raised if it has none."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise unreadable(path, f"one without a readable header ({error})") from error


def wanted_size(split: str, size: tuple[int, int] | None = None) -> tuple[int, int] | None:
    """(H, W) that label maps must have; None for that of each photograph, on val, where nothing is uploaded.

    Args:
        split: ``'test'`` or ``'val'``.
        size: what the user wants, if anything.

    Raises:
        ValueError: if a side is less than 1.
    """
    if size is not None and min(size) < 1:
        raise ValueError(expected("size", "two positive numbers, height and width", list(size)))
    return size or (IMAGE_SIZE if split == "test" else None)


def check_sizes(photos: Mapping[str, str], size: tuple[int, int] | None) -> None:
    """Raise ``ValueError`` if label maps of these photographs could not have the size wanted."""
    sizes = {key: photo_size(path) for key, path in photos.items()} if size is not None else {}
    wrong = [f"{key}: {width}x{height}" for key, (height, width) in sizes.items() if (height, width) != size]
    if wrong:
        rule = f"photographs of {size[1]}x{size[0]} (width x height), as label maps have to be"
        cure = "Take the original photographs; for another benchmark than Cityscapes say --size H W."
        raise ValueError(expected("data_root", rule, f"{len(wrong)} of another size ({shorten(wrong, 3)})", cure))


def missing_photos(photos: Mapping[str, str], split: str) -> str | None:
    """The sentence that says how many photographs of a split there are, if the benchmark has another number."""
    if len(photos) == SPLIT_IMAGES[split]:
        return None
    return f"{split} has {len(photos)} photographs here, but officially {SPLIT_IMAGES[split]}"
