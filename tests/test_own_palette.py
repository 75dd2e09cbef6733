"""A data set of other classes, as docs/data.md says."""

import re

import numpy as np
import pytest
from conftest import ROOT, TINY
from mmengine.config import Config
from PIL import Image

from cityseg_ext.apis.config import load_config
from cityseg_ext.apis.predictor import Predictor
from cityseg_ext.apis.runs import train
from cityseg_ext.labels import IGNORE_INDEX, get_taxonomy, own_taxonomy


@pytest.fixture(scope="module")
def documented(tmp_path_factory):
    """The config in the document, in a file beside those that it is based on."""
    text = (ROOT / "docs" / "data.md").read_text()
    (block,) = [code for code in re.findall(r"```python\n(.*?)```", text, re.S) if "Bicyclist" in code]
    assert len(block.splitlines()) <= 20
    path = tmp_path_factory.mktemp("config") / "camvid.py"
    path.write_text(block.replace("./deeplabv3", f"{ROOT}/configs/deeplabv3"))
    return str(path)


@pytest.fixture
def data(documented, tmp_path):
    """Stripes of all colours, and of void."""
    palette = [*Config.fromfile(documented).palette.values(), (0, 0, 0)]
    mask = np.repeat(np.asarray(palette, np.uint8), 8, axis=0)[None].repeat(64, axis=0)
    photo = 255 - mask
    for split, count in (("train", 2), ("val", 1)):
        for number in range(count):
            for folder, pixels, end in ((split, photo, ".png"), (f"{split}_labels", mask, "_L.png")):
                (tmp_path / "CamVid" / folder).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(tmp_path / "CamVid" / folder / f"{number}{end}")
    return tmp_path / "CamVid"


def test_the_documented_config_trains_and_predicts(documented, data, tmp_path):
    cfg = load_config(
        documented,
        data_root=str(data),
        work_dir=str(tmp_path / "work"),
        image_size=(64, 96),
        batch_size=2,
        num_epochs=1,
        num_workers=0,
        cfg_options=TINY,
    )
    result = train(cfg)
    assert '"IoU/Bicyclist"' in result.scalars.read_text()
    predictor = Predictor(cfg, str(result.checkpoint))
    assert predictor.classes[0] == "Sky" and predictor.palette[10] == (0, 128, 192) and predictor.taxonomy is None


def test_a_palette_is_a_taxonomy():
    own = get_taxonomy({"road": [128, 64, 128], "sky": [1, 2, 3]})
    assert own.classes == ("road", "sky") and own.palette == ((128, 64, 128), (1, 2, 3)) and own.num_classes == 2
    assert own.color_to_index == {(128, 64, 128): 0, (1, 2, 3): 1, (0, 0, 0): IGNORE_INDEX}
    assert own.id_to_index == {0: 0, 1: 1, IGNORE_INDEX: IGNORE_INDEX}


@pytest.mark.parametrize(
    ("palette", "message"),
    [
        ({"a": (0, 0, 0)}, "the colour of 'a' to be RGB, 0 to 255, not black"),
        ({"a": (1, 2)}, "but got"),
        ({"a": (1, 2, 256)}, "0 to 255"),
        ({"a": (1.0, 2, 3)}, "but got"),
        ({"a": (1, 2, 3), "b": (1, 2, 3)}, "'a' and 'b' share"),
        ({}, "1 to 254 classes"),
    ],
)
def test_palettes_that_are_none(palette, message):
    with pytest.raises(ValueError, match=message):
        own_taxonomy(palette)
