import pytest
import torch
import torch.nn.functional as F

from cityseg_ext.functional import row_stream
from cityseg_ext.functional.row_stream import best_class, cropped_rows, resized_rows


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("step", [1, 3, 100])
@pytest.mark.parametrize(
    ("sources", "size"),
    [((7, 5), (41, 9)), ((16, 16), (16, 16)), ((41, 9), (7, 41)), ((1, 1), (9, 7)), ((5, 7), (1, 1)), ((2, 3), (2, 8))],
)
def test_strips_are_what_interpolate_gives(sources, size, step, align_corners, monkeypatch):
    monkeypatch.setattr(row_stream, "STRIP", 3 * 30)
    whole = torch.rand(3, *sources, generator=torch.Generator().manual_seed(0))
    strips = list(resized_rows(whole.split(step, dim=1), sources[0], size, align_corners))
    expected = F.interpolate(whole[None], size, mode="bilinear", align_corners=align_corners)[0]
    torch.testing.assert_close(torch.cat(strips, dim=1), expected)
    assert max(strip.shape[1] for strip in strips) <= max(1, 90 // (3 * size[1]))


def test_memory_is_that_of_a_strip_not_of_the_image():
    """100 times as many rows: the strips stay as small, and rows that were used are let go."""
    strip = torch.rand(19, 1, 8)
    total = 0
    for rows in resized_rows((strip for _ in range(2000)), 2000, (20_000, 64)):
        total += rows.shape[1]
        assert rows.numel() <= row_stream.STRIP
    assert total == 20_000


def test_a_window_is_cut_out_of_strips():
    whole = torch.rand(2, 9, 7)
    for step in (1, 4, 9):
        strips = list(cropped_rows(whole.split(step, dim=1), top=2, left=1, size=(5, 3)))
        torch.testing.assert_close(torch.cat(strips, dim=1), whole[:, 2:7, 1:4])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_best_class_is_the_largest_softmax(dtype):
    logits = torch.randn(35, 9, 41, generator=torch.Generator().manual_seed(1)).to(dtype)
    classes, confidence = best_class(logits)
    probabilities = logits.float().softmax(dim=0)
    assert classes.dtype == torch.uint8 and torch.equal(classes.long(), logits.argmax(dim=0))
    torch.testing.assert_close(
        confidence, probabilities.amax(dim=0), atol=2e-2 if dtype != torch.float32 else 1e-6, rtol=0
    )
