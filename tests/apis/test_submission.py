"""Label maps of a split: predicted once, of one model, checked, zipped and scored."""

import os
import shutil

import cv2
import numpy as np
import pytest

from cityseg_ext.apis import submission
from cityseg_ext.apis.config import load_config
from cityseg_ext.apis.evaluation_report import as_json
from cityseg_ext.apis.predictor import Predictor
from cityseg_ext.apis.runs import test as run_test
from cityseg_ext.apis.submission import make_submission
from cityseg_ext.apis.submission_check import check_submission
from cityseg_ext.apis.submission_photos import check_sizes
from cityseg_ext.labels import CITYSCAPES_19, PREDICTION_NAME, SPLIT_CITIES, SPLIT_IMAGES, own_taxonomy


@pytest.fixture(scope="module")
def cfg(tiny_model):
    return load_config(tiny_model[0], label_source="label_ids", num_workers=0)


@pytest.fixture
def make(cfg, tiny_model, tmp_path):
    """Make a submission of val; by default of the tiny city, and into one folder."""

    def call(folder="my, maps", config=cfg, **options):
        return make_submission(config, tiny_model[1], tmp_path / folder, options.pop("split", "val"), **options)

    return call


def moved(cfg, root):
    """The config with data elsewhere."""
    other = cfg.copy()
    other.data_root = str(root)
    return other


@pytest.fixture
def city(tmp_path):
    """Five photographs of test, of two sizes, and no label."""
    root = tmp_path / "city"
    for number, city in enumerate(SPLIT_CITIES["test"][:5]):
        path = root / "leftImg8bit" / "test" / city / f"{city}_000000_{number:06d}_leftImg8bit.png"
        path.parent.mkdir(parents=True)
        shape = (64, 128, 3) if number < 4 else (40, 60, 3)
        cv2.imwrite(str(path), np.random.default_rng(number).integers(0, 256, shape, np.uint8))
    return root


def test_val_scores_are_those_of_a_test_run(make, cfg, tiny_model, tmp_path):
    made = make(batch_size=2)
    assert (made.images, made.predicted, made.check.errors) == (3, 3, 0)
    assert made.zip == tmp_path / "my, maps.zip" and check_submission(made.zip, "val", (64, 128)).images == 3
    assert all(PREDICTION_NAME.fullmatch(path.name) for path in made.folder.iterdir())
    tested = run_test(cfg, tiny_model[1]).metrics
    scores = as_json(made.evaluation)
    assert made.evaluation.official and made.evaluation.gt_type == "label_ids"
    for name in ("mIoU", "mDice", "aAcc"):
        assert scores[name] == pytest.approx(tested[name], abs=1e-4)


def test_label_maps_hold_official_ids_of_the_predicted_classes(make, cfg, tiny_model, tiny_city):
    made = make()
    predictor = Predictor(cfg, tiny_model[1])
    for path in made.folder.iterdir():
        key = PREDICTION_NAME.fullmatch(path.name).group(1)
        photo = next((tiny_city / "leftImg8bit" / "val").rglob(f"{key}*"))
        (prediction,) = predictor.predict([cv2.imread(str(photo))[..., ::-1]])
        wanted = np.array(CITYSCAPES_19.index_to_id)[prediction.class_map]
        assert (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) == wanted).all()


def test_a_second_run_does_what_is_missing_and_gives_the_same_bytes(make, tmp_path):
    first = make()
    data = first.zip.read_bytes()
    again = make()
    assert (again.predicted, again.digest) == (0, first.digest) and again.zip.read_bytes() == data
    paths = sorted(first.folder.iterdir())
    before = [path.stat().st_mtime_ns for path in paths]
    first.zip.rename(tmp_path / "aside.zip")
    paths[0].unlink()
    paths[1].write_bytes(paths[1].read_bytes()[:-5])  # a broken disk
    (first.folder / ".4-4.cityseg-part").write_bytes(b"of a killed run")
    again = make()
    assert again.predicted == 2 and again.zip.read_bytes() == data
    assert paths[2].stat().st_mtime_ns == before[2]
    assert make(folder="elsewhere", batch_size=3).zip.read_bytes() == data


def test_a_changed_photograph_is_predicted_again(make, cfg, tiny_city, tmp_path):
    shutil.copytree(tiny_city / "leftImg8bit", tmp_path / "city" / "leftImg8bit")
    config = moved(cfg, tmp_path / "city")
    made = make(config=config)
    assert made.evaluation is None  # no ground truth there
    photo = next((tmp_path / "city" / "leftImg8bit" / "val").rglob("*.png"))
    cv2.imwrite(str(photo), 255 - cv2.imread(str(photo)))
    made.zip.unlink()
    assert make(config=config).predicted == 1


def test_another_model_or_option_is_not_mixed_in(make, cfg, tiny_model):
    made = make()
    data = made.zip.read_bytes()
    other = cfg.copy()
    other.test_pipeline = [dict(part, scale=(96, 48)) if "scale" in part else part for part in cfg.test_pipeline]
    for options in (dict(tta=True), dict(refiner=dict(type="DenseCRF")), dict(amp=True), dict(config=other)):
        with pytest.raises(ValueError, match="3 others .*--overwrite"):
            make(**options)
    assert made.zip.read_bytes() == data and make().predicted == 0
    replaced = make(tta=True, overwrite=True)
    assert replaced.predicted == 3 and make(tta=True).predicted == 0


def test_files_of_others_are_never_touched(make, tmp_path):
    folder = tmp_path / "my, maps"
    folder.mkdir()
    (folder / "thesis.txt").write_text("important")
    for options in ({}, dict(overwrite=True)):
        with pytest.raises(ValueError, match="1 other files .thesis.txt"):
            make(**options)
    (folder / "thesis.txt").rename(tmp_path / "my, maps.zip")
    with pytest.raises(ValueError, match="zip is in the way"):
        make()
    assert (tmp_path / "my, maps.zip").read_text() == "important" and not any(folder.iterdir())


def test_a_zip_that_differs_is_not_replaced_unasked(make, tmp_path):
    made = make()
    made.zip.write_bytes(b"another")
    with pytest.raises(ValueError, match="in the way"):
        make()
    assert made.zip.read_bytes() == b"another" and sorted(os.listdir(tmp_path)) == ["my, maps", "my, maps.zip"]
    assert make(overwrite=True).zip.read_bytes() != b"another"


def test_test_needs_the_official_photographs(make, cfg, city, monkeypatch):
    config = moved(cfg, city)
    with pytest.raises(ValueError, match="5 of another size"):
        make(config=config, split="test")
    with pytest.raises(ValueError, match="1 of another size .*60x40"):
        make(config=config, split="test", size=(64, 128))
    next(city.rglob("*_000004_*")).unlink()
    made = make(config=config, split="test", size=(64, 128))
    assert (made.predicted, made.zip, made.evaluation) == (4, None, None)
    assert [finding.kind for finding in made.check.findings] == ["photographs"]
    monkeypatch.setitem(SPLIT_IMAGES, "test", 4)
    made = make(config=config, split="test", size=(64, 128))
    assert made.predicted == 0 and made.zip.is_file() and not made.check.findings


def test_photographs_of_several_sizes_get_label_maps_of_theirs(make, cfg, city):
    (city / "leftImg8bit" / "test").rename(city / "leftImg8bit" / "val")
    made = make(config=moved(cfg, city), batch_size=5)
    shapes = {cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape for path in made.folder.iterdir()}
    assert shapes == {(64, 128), (40, 60)} and not made.check.errors


@pytest.mark.parametrize("names", [("berlin_1_2",), ("a/berlin_000000_000001", "b/berlin_000000_000001")])
def test_photographs_whose_predictions_would_not_be_found(make, cfg, tmp_path, names):
    for name in names:
        path = tmp_path / "city" / "leftImg8bit" / "val" / f"{name}_leftImg8bit.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="for predictions are found by that|the only photograph of its name"):
        make(config=moved(cfg, tmp_path / "city"))


def test_mistakes_are_named(make, cfg, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="leftImg8bit"):
        make(config=moved(cfg, tmp_path))
    with pytest.raises(ValueError, match="batch_size"):
        make(batch_size=0)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="out"):
        make(folder="file/maps")
    for taxonomy in (None, own_taxonomy({"road": (1, 2, 3)})):  # whose ids are its indices
        fake = type("Fake", (), dict(taxonomy=taxonomy, __init__=lambda *_, **__: None))
        monkeypatch.setattr(submission, "Predictor", fake)
        with pytest.raises(ValueError, match="official ids are known"):
            make()


def test_a_photograph_without_a_header_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="a.png' to be a readable image.*without a readable header"):
        check_sizes({"ulm_000000_000000": str(tmp_path / "a.png")}, (1024, 2048))
