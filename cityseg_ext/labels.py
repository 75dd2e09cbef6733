"""Every fact about the Cityscapes labels, in one table, and what derives from it.

The table is that of the official ``cityscapesscripts/helpers/labels.py``. Three facts about its colours decide what a
colour mask can tell (``shared_colors`` computes them):

* the void labels ``unlabeled``, ``ego vehicle``, ``rectification border``, ``out of roi`` and ``static`` are all black;
* ``pole`` and ``polegroup`` are both (153, 153, 153): a colour mask reads as ``pole``, although the official evaluation
  ignores ``polegroup``. Scores from colour masks are therefore not the official scores;
* ``car`` and ``license plate`` are both (0, 0, 142): a colour mask reads as ``car``. The official files never draw
  licence plates, so nothing is lost.

Where labels share a colour, the one that is evaluated wins (``pole``, ``car``); among void ones it does not matter.

Example:
    >>> CITYSCAPES_19.classes[:3]
    ('road', 'sidewalk', 'building')
    >>> CITYSCAPES_19.color_to_index[(153, 153, 153)], CITYSCAPES_29.id_to_index[18]
    (5, 13)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

Color = tuple[int, int, int]

IGNORE_INDEX = 255
"""The class index of a pixel that is not to be trained on or scored ("void")."""


class Label(NamedTuple):
    """One Cityscapes label.

    Attributes:
        name: the official English name.
        id: the value in ``*_labelIds.png``; -1 is never drawn.
        train_id: the class index of the 19-class benchmark; 255 (or -1) where the label is void there.
        category: the name of the group that category scores are computed for.
        category_id: the number of that group, 0 to 7; 0 is void.
        has_instances: whether single objects are told apart (instance-weighted scores exist for these).
        ignore_in_eval: whether the official evaluation leaves the label's pixels out.
        color: RGB, 0 to 255, as in ``*_color.png``.
    """

    name: str
    id: int
    train_id: int
    category: str
    category_id: int
    has_instances: bool
    ignore_in_eval: bool
    color: Color


# fmt: off
LABELS: tuple[Label, ...] = (
    #     name                    id  train_id  category       cat  instances  ignored  colour
    Label("unlabeled",             0,      255, "void",          0, False,     True,    (0, 0, 0)),
    Label("ego vehicle",           1,      255, "void",          0, False,     True,    (0, 0, 0)),
    Label("rectification border",  2,      255, "void",          0, False,     True,    (0, 0, 0)),
    Label("out of roi",            3,      255, "void",          0, False,     True,    (0, 0, 0)),
    Label("static",                4,      255, "void",          0, False,     True,    (0, 0, 0)),
    Label("dynamic",               5,      255, "void",          0, False,     True,    (111, 74, 0)),
    Label("ground",                6,      255, "void",          0, False,     True,    (81, 0, 81)),
    Label("road",                  7,        0, "flat",          1, False,     False,   (128, 64, 128)),
    Label("sidewalk",              8,        1, "flat",          1, False,     False,   (244, 35, 232)),
    Label("parking",               9,      255, "flat",          1, False,     True,    (250, 170, 160)),
    Label("rail track",           10,      255, "flat",          1, False,     True,    (230, 150, 140)),
    Label("building",             11,        2, "construction",  2, False,     False,   (70, 70, 70)),
    Label("wall",                 12,        3, "construction",  2, False,     False,   (102, 102, 156)),
    Label("fence",                13,        4, "construction",  2, False,     False,   (190, 153, 153)),
    Label("guard rail",           14,      255, "construction",  2, False,     True,    (180, 165, 180)),
    Label("bridge",               15,      255, "construction",  2, False,     True,    (150, 100, 100)),
    Label("tunnel",               16,      255, "construction",  2, False,     True,    (150, 120, 90)),
    Label("pole",                 17,        5, "object",        3, False,     False,   (153, 153, 153)),
    Label("polegroup",            18,      255, "object",        3, False,     True,    (153, 153, 153)),
    Label("traffic light",        19,        6, "object",        3, False,     False,   (250, 170, 30)),
    Label("traffic sign",         20,        7, "object",        3, False,     False,   (220, 220, 0)),
    Label("vegetation",           21,        8, "nature",        4, False,     False,   (107, 142, 35)),
    Label("terrain",              22,        9, "nature",        4, False,     False,   (152, 251, 152)),
    Label("sky",                  23,       10, "sky",           5, False,     False,   (70, 130, 180)),
    Label("person",               24,       11, "human",         6, True,      False,   (220, 20, 60)),
    Label("rider",                25,       12, "human",         6, True,      False,   (255, 0, 0)),
    Label("car",                  26,       13, "vehicle",       7, True,      False,   (0, 0, 142)),
    Label("truck",                27,       14, "vehicle",       7, True,      False,   (0, 0, 70)),
    Label("bus",                  28,       15, "vehicle",       7, True,      False,   (0, 60, 100)),
    Label("caravan",              29,      255, "vehicle",       7, True,      True,    (0, 0, 90)),
    Label("trailer",              30,      255, "vehicle",       7, True,      True,    (0, 0, 110)),
    Label("train",                31,       16, "vehicle",       7, True,      False,   (0, 80, 100)),
    Label("motorcycle",           32,       17, "vehicle",       7, True,      False,   (0, 0, 230)),
    Label("bicycle",              33,       18, "vehicle",       7, True,      False,   (119, 11, 32)),
    Label("license plate",        -1,       -1, "vehicle",       7, False,     True,    (0, 0, 142)),
)
# fmt: on

LABEL_BY_NAME: dict[str, Label] = {label.name: label for label in LABELS}
LABEL_BY_ID: dict[int, Label] = {label.id: label for label in LABELS}

PHOTO_SUFFIXES = ("_leftImg8bit.png", "_leftImg8bit.jpg", "_leftImg8bit.jpeg")
"""How the names of photographs end: officially in PNG; JPEG copies are common."""

PAIR_SUFFIXES = (".jpg", ".jpeg")
"""How the names of image pairs, photograph and colour mask side by side, end; other pictures beside them are PNGs."""

PAIR_HALVES = ("left", "right")
"""Where photograph and mask of such a pair can be."""

LABEL_SUFFIXES = {
    "color": "_gtFine_color.png",
    "label_ids": "_gtFine_labelIds.png",
    "train_ids": "_gtFine_labelTrainIds.png",
}
"""The kinds of label files, and how the official names of each end."""

INSTANCE_SUFFIX = "_gtFine_instanceIds.png"
"""How the official names of instance files end: 16 bit, ``1000 * id + number`` for single objects, else the id."""

FRAME_NAME = re.compile(r"(.+?_\d{6}_\d{6})(?:[_.].*)?")
"""File names of the convention ``<city>_<sequence>_<frame>_<anything>``; the group tells one image from another."""

IMAGE_SIZE: tuple[int, int] = (1024, 2048)
"""Height and width of all photographs and label files."""

SPLIT_IMAGES: dict[str, int] = {"train": 2975, "val": 500, "test": 1525}
"""How many images each official split has; the labels of test are not published."""

SPLIT_CITIES: dict[str, tuple[str, ...]] = {
    "val": ("frankfurt", "lindau", "munster"),
    "test": ("berlin", "bielefeld", "bonn", "leverkusen", "mainz", "munich"),
}
"""The cities of the official splits that predictions are made for."""

PREDICTION_NAME = re.compile(r"(.+?_\d{6}_\d{6}).*\.png")
"""File names that the official evaluation takes for a prediction; the group says of which image.

Source: ``getPrediction`` in ``evalPixelLevelSemanticLabeling.py`` of cityscapesScripts 2.3.0: below the folder of
results, at any depth, one file ``<city>_<sequence>_<frame>*.png`` must be there for each image.
"""

PREDICTION_SUFFIX = "_pred_labelIds.png"
"""How the names of our predictions end: they say what they hold, and are not taken for photographs or ground truth."""

MEAN_INSTANCE_PIXELS: dict[str, float] = {
    "bicycle": 4672.3249222261,
    "caravan": 36771.8241758242,
    "motorcycle": 6298.7200839748,
    "rider": 3930.4788056518,
    "bus": 35732.1511111111,
    "train": 67583.7075812274,
    "car": 12794.0202738185,
    "person": 3462.4756337644,
    "truck": 27855.1264367816,
    "trailer": 16926.9763313609,
}
"""Mean size of an object in pixels, which instance-weighted scores (iIoU) weigh objects by.

Source: ``avgClassSize`` in ``evalPixelLevelSemanticLabeling.py`` of cityscapesScripts 2.3.0.
"""

COLOR_ALIASES: dict[Color, str] = {
    (0, 130, 180): "sky",  # a widely copied table has this instead of the official (70, 130, 180)
}
"""Colours that are not official but are found in the wild, and the label that they mean."""


COLORS: tuple[Color, ...] = tuple(dict.fromkeys([label.color for label in LABELS] + list(COLOR_ALIASES)))
"""Every colour that means something, once: the official ones in the order of the table, then the aliases."""


def shared_colors() -> dict[Color, tuple[str, ...]]:
    """Colours that more than one label uses, with the names of these labels in the table's order."""
    names: dict[Color, list[str]] = {}
    for label in LABELS:
        names.setdefault(label.color, []).append(label.name)
    return {color: tuple(group) for color, group in names.items() if len(group) > 1}


@dataclass(frozen=True)
class Taxonomy:
    """A numbering of classes, and the maps into it and back.

    Attributes:
        name: what configs call it.
        classes: class names in the order of their indices 0 .. K-1.
        palette: the RGB colour of each class, in the same order.
        index_to_id: the official label id of each class, in the same order.
        id_to_index: official label id -> class index, for all 35 labels; void ones give 255.
        color_to_index: RGB colour -> class index, for all official colours and the known aliases; void ones give 255.
    """

    name: str
    classes: tuple[str, ...]
    palette: tuple[Color, ...]
    index_to_id: tuple[int, ...]
    id_to_index: dict[int, int]
    color_to_index: dict[Color, int]

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    @property
    def metainfo(self) -> dict[str, list]:
        """``classes`` and RGB ``palette`` as plain lists, as MMSegmentation data sets carry them."""
        return {"classes": list(self.classes), "palette": [list(color) for color in self.palette]}


def _taxonomy(name: str, members: tuple[Label, ...]) -> Taxonomy:
    index_of = {label.name: index for index, label in enumerate(members)}
    color_to_index: dict[Color, int] = {}
    # Evaluated labels come last, so that `pole` wins over `polegroup` and `car` over `license plate`.
    for label in sorted(LABELS, key=lambda label: not label.ignore_in_eval):
        color_to_index[label.color] = index_of.get(label.name, IGNORE_INDEX)
    for color, alias in COLOR_ALIASES.items():
        color_to_index[color] = index_of.get(alias, IGNORE_INDEX)
    return Taxonomy(
        name=name,
        classes=tuple(label.name for label in members),
        palette=tuple(label.color for label in members),
        index_to_id=tuple(label.id for label in members),
        id_to_index={label.id: index_of.get(label.name, IGNORE_INDEX) for label in LABELS},
        color_to_index=color_to_index,
    )


CITYSCAPES_19 = _taxonomy(
    "cityscapes19",
    tuple(sorted((label for label in LABELS if not label.ignore_in_eval), key=lambda label: label.train_id)),
)
"""The benchmark's 19 classes; the class index is the official train id."""

CITYSCAPES_29 = _taxonomy("cityscapes29", tuple(label for label in LABELS if label.color != (0, 0, 0) and label.id > 0))
"""The 29 labels with ids 5 to 33, those with a colour other than void's black; the class index is ``id - 5``.

From label ids all 29 are told apart. From colours 28 are: ``polegroup`` reads as ``pole``.
"""

CITYSCAPES_IDS = _taxonomy("cityscapes_ids", tuple(label for label in LABELS if label.id >= 0))
"""All 34 labels that can be drawn, void ones included, under their official ids: what the official evaluation counts.

No model is trained with these, so configs cannot name it. From colours, labels that share one read as one of them.
"""

TAXONOMIES: dict[str, Taxonomy] = {taxonomy.name: taxonomy for taxonomy in (CITYSCAPES_19, CITYSCAPES_29)}


TaxonomyLike: TypeAlias = str | Taxonomy | Mapping[str, Sequence[int]]
"""What says which classes there are: a name, a taxonomy, or a palette (class name -> RGB colour)."""


def own_taxonomy(palette: Mapping[str, Sequence[int]], name: str = "own") -> Taxonomy:
    """The numbering of another data set, from its palette: classes get the indices 0 .. K-1 in the order given.

    Black is void. In files of ids, the id is the index, and 255 is void.

    Args:
        palette: class name -> RGB colour, 0 to 255; no two alike, and none black.
        name: what to call it in messages.

    Raises:
        ValueError: if a colour is no RGB colour, is black, or two classes share one.

    Example:
        >>> own_taxonomy({"road": (128, 64, 128), "sky": (128, 128, 128)}).color_to_index[128, 128, 128]
        1
    """
    colors: dict[Color, str] = {}
    for label, color in palette.items():
        if len(color) != 3 or any(type(part) is not int or not 0 <= part <= 255 for part in color) or not any(color):
            raise ValueError(f"Expected the colour of '{label}' to be RGB, 0 to 255, not black, but got {color!r}.")
        other = colors.setdefault((color[0], color[1], color[2]), label)
        if other != label:
            raise ValueError(
                f"Expected each class to have its own colour, but '{other}' and '{label}' share {color!r}."
            )
    if not 0 < len(colors) < IGNORE_INDEX:
        raise ValueError(f"Expected `palette` to have 1 to {IGNORE_INDEX - 1} classes, but got {len(colors)}.")
    indices = range(len(colors))
    return Taxonomy(
        name=name,
        classes=tuple(colors.values()),
        palette=tuple(colors),
        index_to_id=tuple(indices),
        id_to_index={index: index for index in indices} | {IGNORE_INDEX: IGNORE_INDEX},
        color_to_index=dict(zip(colors, indices, strict=True)) | {(0, 0, 0): IGNORE_INDEX},
    )


def get_taxonomy(name: TaxonomyLike) -> Taxonomy:
    """Look a taxonomy up by its name, or make one from a palette; a :class:`Taxonomy` is returned as it is.

    Raises:
        ValueError: if there is no taxonomy of that name, or the palette is none (see :func:`own_taxonomy`).

    Example:
        >>> get_taxonomy("cityscapes29").num_classes
        29
    """
    if isinstance(name, Taxonomy):
        return name
    if isinstance(name, Mapping):
        return own_taxonomy(name)
    if name not in TAXONOMIES:
        raise ValueError(f"Expected `taxonomy` to be one of {sorted(TAXONOMIES)}, but got {name!r}.")
    return TAXONOMIES[name]
