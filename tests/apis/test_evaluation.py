import csv
import io
import json
import shutil

import cv2
import numpy as np
import pytest
import reference
from official import assert_equal_scores, official_scores
from PIL import Image

from cityseg_ext.apis.evaluation import evaluate
from cityseg_ext.apis.evaluation_report import as_csv, as_json, as_table, check_reports, per_image_csv, write_reports
from cityseg_ext.functional.cityscapes_scores import cityscapes_scores
from cityseg_ext.labels import (
    CITYSCAPES_19,
    CITYSCAPES_29,
    INSTANCE_SUFFIX,
    LABEL_BY_ID,
    LABEL_SUFFIXES,
    PHOTO_SUFFIXES,
)

IDS = [0, 1, 3, 7, 9, 11, 17, 18, 23, 24, 26, 29]
TO_TRAIN = np.array([CITYSCAPES_19.id_to_index.get(number, 255) for number in range(256)], np.uint8)


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


@pytest.fixture
def city(tmp_path):
    """Five ground truths of all kinds in two cities, and predictions in label ids and in train ids."""
    rng = np.random.default_rng(0)
    for index in range(5):
        stem = f"{'ab'[index % 2]}/{'ab'[index % 2]}_{index:06d}_000019"
        truth = rng.choice(IDS, (8, 10 + index)).repeat(3, 0).repeat(3, 1).astype(np.uint8)
        pred = np.where(rng.random(truth.shape) < 0.7, truth, rng.choice(CITYSCAPES_19.index_to_id, truth.shape))
        pred = np.array(CITYSCAPES_19.index_to_id, np.uint8)[TO_TRAIN[pred.astype(np.uint8)] % 19]
        objects = [n * 1000 + 1 if LABEL_BY_ID[n].has_instances else n for n in truth.ravel().tolist()]
        colors = np.array([LABEL_BY_ID[n].color[::-1] for n in truth.ravel().tolist()], np.uint8)
        write(tmp_path / "gt" / f"{stem}{LABEL_SUFFIXES['label_ids']}", truth)
        write(tmp_path / "gt" / f"{stem}{LABEL_SUFFIXES['train_ids']}", TO_TRAIN[truth])
        write(tmp_path / "gt" / f"{stem}{LABEL_SUFFIXES['color']}", colors.reshape(*truth.shape, 3))
        write(tmp_path / "gt" / f"{stem}{INSTANCE_SUFFIX}", np.array(objects, np.uint16).reshape(truth.shape))
        write(tmp_path / "ids" / f"{stem}_leftImg8bit.png", pred)
        write(tmp_path / "train" / f"{stem.split('/')[1]}.png", TO_TRAIN[pred])
    return tmp_path


def scores(evaluation):
    return cityscapes_scores(evaluation.total.confusion, evaluation.total.instances)


def test_files_score_as_with_the_official_script(city):
    truths = sorted(city.rglob(f"*{LABEL_SUFFIXES['label_ids']}"))
    preds = sorted((city / "ids").rglob("*.png"))
    expected = official_scores(preds, truths)
    for folder in ("ids", "train"):
        evaluation = evaluate(city / folder, city / "gt", workers=0)
        assert_equal_scores(scores(evaluation), expected)
        assert evaluation.total.confusion.tolist() == expected["confMatrix"]


def test_types_are_told_by_names_and_values_and_said(city):
    by_type = {folder: evaluate(city / folder, city / "gt", workers=0) for folder in ("ids", "train")}
    for folder, kind in (("ids", "label_ids"), ("train", "train_ids")):
        assert by_type[folder].pred_type == kind and by_type[folder].gt_type == "label_ids"
        assert f"Predictions: {kind.replace('_', ' ')}, as values say." in by_type[folder].notes
    assert repr(scores(by_type["ids"])) == repr(scores(by_type["train"]))


def test_train_ids_and_colours_are_ground_truth_too(city):
    by_ids, by_train, by_color = (
        evaluate(city / "ids", city / "gt", gt_type=kind, workers=0) for kind in ("label_ids", "train_ids", "color")
    )
    assert repr(scores(by_ids)) == repr(scores(by_train)) and by_train.official
    assert not by_color.official and any("not the official scores" in note for note in by_color.notes)
    assert scores(by_color).iou["pole"] < scores(by_ids).iou["pole"]  # there is a polegroup


def test_numbers_are_the_same_for_any_number_of_processes(city):
    results = [json.dumps(as_json(evaluate(city / "ids", city / "gt", boundary=True, workers=n))) for n in (0, 2, 3)]
    assert results[0] == results[1] == results[2]


def test_json_has_everything_unrounded_and_null_for_absent(city, tmp_path):
    evaluation = evaluate(city / "train", city / "gt", boundary=True, workers=0)
    write_reports(evaluation, json=tmp_path / "new" / "scores.json")

    def refuse(name):
        raise AssertionError(name)

    found = json.loads((tmp_path / "new" / "scores.json").read_text(), parse_constant=refuse)
    pairs = [(cv2.imread(pair.pred, -1), TO_TRAIN[cv2.imread(pair.truth, -1)]) for pair in evaluation.pairs]
    pred, truth = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))
    for index, name in enumerate(CITYSCAPES_19.classes):
        for score, value in (("IoU", reference.iou), ("Dice", reference.dice)):
            np.testing.assert_equal(found["classes"][name][score] or 0, np.nan_to_num(value(pred, truth, index)))
    assert found["aAcc"] == (pred == truth)[truth != 255].mean()
    present = [row["IoU"] for row in found["classes"].values() if row["IoU"] is not None]
    assert found["mIoU"] == pytest.approx(np.mean(present)) and found["averaged_classes"] == len(present)
    assert found["classes"]["road"]["iIoU"] is None and found["classes"]["car"]["iIoU"] > 0
    assert found["categories"]["vehicle"]["iIoU"] > 0 and found["categories"]["sky"]["iIoU"] is None
    assert {"mDice", "mBoundaryIoU", "mBoundaryF", "mThinRecall", "miIoU"} <= set(found)
    assert (
        found["images"] == 5
        and found["official"]
        and np.sum(found["confusion"]["counts"]) == sum(pair[0].size for pair in pairs)
    )


def test_csv_has_a_row_a_class_a_category_and_a_mean(city):
    evaluation = evaluate(city / "train", city / "gt", workers=0)
    rows = list(csv.DictReader(io.StringIO(as_csv(evaluation))))
    assert [row["name"] for row in rows if row["kind"] == "class"] == [*CITYSCAPES_19.classes, "mean"]
    assert float(rows[0]["IoU"]) == as_json(evaluation)["classes"]["road"]["IoU"] and rows[0]["iIoU"] == ""
    assert sum(row["kind"] == "category" for row in rows) == 7 + 1


def test_scores_of_single_images(city):
    evaluation = evaluate(city / "train", city / "gt", workers=0)
    rows = list(csv.DictReader(io.StringIO(per_image_csv(evaluation))))
    assert [row["image"] for row in rows] == [pair.key for pair in evaluation.pairs]
    for row in rows:
        pred, truth = cv2.imread(row["prediction"], -1), TO_TRAIN[cv2.imread(row["ground truth"], -1)]
        dice = [reference.dice(pred, truth, index) for index in range(CITYSCAPES_19.num_classes)]
        assert float(row["mDice"]) == pytest.approx(np.nanmean(dice))
        assert float(row["aAcc"]) == (pred == truth)[truth != 255].mean()


def test_29_classes_are_scored_on_the_19_too(city):
    for path in (city / "train").iterdir():
        ids = np.array(CITYSCAPES_19.index_to_id, np.uint8)[cv2.imread(str(path), -1)]
        ids[:3] = 9  # parking: no class of the 19
        write(path, ids - 5)
        write(city / "ids" / path.stem[0] / f"{path.stem}_leftImg8bit.png", ids)
    result = as_json(evaluate(city / "train", city / "gt", taxonomy="cityscapes29", workers=0))
    official = as_json(evaluate(city / "ids", city / "gt", workers=0))
    assert set(result["classes"]) == set(CITYSCAPES_29.classes)
    assert result["cityscapes19"]["classes"] == official["classes"]
    assert "cityscapes19" in as_table(evaluate(city / "train", city / "gt", taxonomy="cityscapes29", workers=0))


def test_no_class_in_a_prediction_is_a_miss(city):
    evaluation = evaluate(city / "train", city / "gt", workers=0)
    labelled = evaluation.total.confusion[list(CITYSCAPES_19.index_to_id)].sum()
    for path in (city / "train").iterdir():
        pred = cv2.imread(str(path), -1)
        pred[:5] = 255
        write(path, pred)
    after = evaluate(city / "train", city / "gt", workers=0)
    assert after.total.confusion[list(CITYSCAPES_19.index_to_id)].sum() == labelled
    assert as_json(after)["aAcc"] < as_json(evaluation)["aAcc"]


def test_names_of_any_kind_are_paired(tmp_path):
    truth = np.full((4, 5), 26, np.uint8)
    for name in ("straße, 1", "sub/b", "sub/c.x"):
        write(tmp_path / "gt" / f"{name}.PNG", truth)
        write(tmp_path / "deep" / "er" / f"{name}_leftImg8bit.png", truth)
    evaluation = evaluate(tmp_path / "deep", tmp_path / "gt", workers=0)
    assert [pair.key for pair in evaluation.pairs] == ["b", "c.x", "straße, 1"]
    assert evaluation.gt_type == evaluation.pred_type == "label_ids" and as_json(evaluation)["mIoU"] == 1


def test_equal_names_in_different_folders_are_paired_by_folder(tmp_path):
    for folder, value in (("x", 26), ("y", 24)):
        write(tmp_path / "gt" / folder / "1.png", np.full((4, 5), value, np.uint8))
        write(tmp_path / "pred" / folder / "1.png", np.full((4, 5), value, np.uint8))
    assert as_json(evaluate(tmp_path / "pred", tmp_path / "gt", workers=0))["mIoU"] == 1


def test_all_files_without_partner_are_listed_at_once(city):
    (city / "train" / "a_000000_000019.png").unlink()
    shutil.copy(city / "train" / "b_000001_000019.png", city / "train" / "b_000009_000019.png")
    shutil.copy(city / "train" / "b_000001_000019.png", city / "train" / "b_000001_000019_again.png")
    with pytest.raises(ValueError) as error:
        evaluate(city / "train", city / "gt", workers=0)
    for part in (
        "1 ground truths have no prediction (a_000000_000019)",
        "1 images have predictions but no ground truth (b_000009_000019)",
        "1 images have several predictions (b_000001_000019: b_000001_000019.png, b_000001_000019_again.png)",
    ):
        assert part in str(error.value)


def test_all_bad_files_are_listed_at_once(city):
    paths = sorted((city / "train").iterdir())
    pred = cv2.imread(str(paths[0]), -1)
    write(paths[0], pred[:, 1:])
    write(paths[1], np.full_like(cv2.imread(str(paths[1]), -1), 40))
    write(paths[2], np.dstack([cv2.imread(str(paths[2]), -1) + k for k in range(3)]).astype(np.uint8))
    paths[3].write_bytes(paths[3].read_bytes()[:60])
    write(paths[4], cv2.imread(str(paths[4]), -1).astype(np.uint16) + 256)
    with pytest.raises(ValueError) as error:
        evaluate(city / "train", city / "gt", pred_type="train_ids", workers=2)
    text = str(error.value)
    assert "5 images that can be scored, but 5 cannot" in text and all(path.name in text for path in paths)
    for part in (
        "of its ground truth's size 30x24",
        "train ids 0 to 18 (or 255), but got 40: ",
        "Predictions must hold ids",
    ):
        assert part in text


def test_values_that_could_be_both_must_be_named(tmp_path):
    for folder in ("pred", "gt"):
        write(tmp_path / folder / "1.png", np.full((4, 5), 7, np.uint8))
    with pytest.raises(
        ValueError, match="`gt_type` to be given where the values of the ground truths .7. can be of both"
    ):
        evaluate(tmp_path / "pred", tmp_path / "gt", workers=0)
    with pytest.raises(ValueError, match="Give --pred-type"):
        evaluate(tmp_path / "pred", tmp_path / "gt", gt_type="label_ids", workers=0)
    results = [
        evaluate(tmp_path / "pred", tmp_path / "gt", *[kind] * 2, workers=0) for kind in ("train_ids", "label_ids")
    ]
    assert [list(scores(result).iou.values()).index(1.0) for result in results] == [7, 0]


def test_iiou_needs_all_instance_files(city):
    next((city / "gt").rglob(f"*{INSTANCE_SUFFIX}")).unlink()
    with pytest.raises(ValueError, match="`iiou`.*1 of 5"):
        evaluate(city / "ids", city / "gt", iiou=True, workers=0)
    evaluation = evaluate(city / "ids", city / "gt", workers=0)
    assert as_json(evaluation)["miIoU"] is None and "1 of 5 images have no *_gtFine" in " ".join(evaluation.notes)
    assert "iIoU %" not in as_table(evaluation)


def test_bad_instance_files_are_named(city):
    path = next((city / "gt").rglob(f"*{INSTANCE_SUFFIX}"))
    write(path, np.full((24, 5), 26001, np.uint16))
    with pytest.raises(ValueError, match=f"{path.name}.*size"):
        evaluate(city / "ids", city / "gt", workers=0)


def test_licence_plates_in_ground_truth_are_void(city):
    for path in (city / "gt").rglob(f"*{LABEL_SUFFIXES['label_ids']}"):
        write(path, np.where(cv2.imread(str(path), -1) == 0, 255, cv2.imread(str(path), -1)).astype(np.uint8))
    with_plates = evaluate(city / "ids", city / "gt", iiou=False, workers=0)
    by_train = evaluate(city / "ids", city / "gt", iiou=False, gt_type="train_ids", workers=0)
    assert repr(scores(with_plates)) == repr(scores(by_train))


def test_nothing_to_score_is_an_error(tmp_path):
    write(tmp_path / "gt" / f"1{LABEL_SUFFIXES['label_ids']}", np.zeros((4, 5), np.uint8))
    write(tmp_path / "pred" / "1.png", np.full((4, 5), 7, np.uint8))
    with pytest.raises(ValueError, match="at least one labelled pixel of cityscapes19"):
        evaluate(tmp_path / "pred", tmp_path / "gt", "label_ids", workers=0)


def test_palette_files_hold_ids(city):
    for path in (city / "train").iterdir():
        image = Image.fromarray(cv2.imread(str(path), -1)).convert("P")
        image.putdata(cv2.imread(str(path), -1).ravel().tolist())
        image.putpalette(sum(CITYSCAPES_19.palette, ()))
        image.save(path)
    assert repr(scores(evaluate(city / "train", city / "gt", workers=0))) == repr(
        scores(evaluate(city / "ids", city / "gt", workers=0))
    )


def test_folders_and_files_that_are_wrong(city, tmp_path):
    (tmp_path / "empty").mkdir()
    for pred, truth, message in (
        (tmp_path / "none", city / "gt", "`pred_dir` to be an existing folder"),
        (city / "train", tmp_path / "empty", "`gt_dir` to be a folder with PNG files"),
    ):
        with pytest.raises(FileNotFoundError, match=message):
            evaluate(pred, truth)
    write(tmp_path / "photos" / f"a{PHOTO_SUFFIXES[0]}", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(FileNotFoundError, match=r"`gt_dir` to be a folder with files \*_gtFine_labelIds.png"):
        evaluate(city / "train", tmp_path / "photos")
    with pytest.raises(ValueError, match="`pred_type`.*Did you mean 'label_ids'"):
        evaluate(city / "train", city / "gt", pred_type="label_id")
    with pytest.raises(ValueError, match="`csv` to be a file"):
        check_reports(csv=tmp_path)


@pytest.mark.parametrize("content", [b"", b"BM" + bytes(50)], ids=["empty", "other"])
def test_the_first_ground_truth_of_another_name_may_be_damaged(tmp_path, content):
    write(tmp_path / "pred" / "1.png", np.full((4, 5), 7, np.uint8))
    (tmp_path / "gt").mkdir()
    (tmp_path / "gt" / "1.png").write_bytes(content)
    with pytest.raises(ValueError, match="Expected file '.*gt/1.png' to be .*image"):
        evaluate(tmp_path / "pred", tmp_path / "gt", workers=0)


def test_nothing_is_written_beside_the_reports(city):
    before = {path: path.read_bytes() for path in city.rglob("*") if path.is_file()}
    evaluate(city / "ids", city / "gt", boundary=True, workers=0)
    assert before == {path: path.read_bytes() for path in city.rglob("*") if path.is_file()}
