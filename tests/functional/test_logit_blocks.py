import math

import pytest
import torch
import torch.nn.functional as F

from cityseg_ext.functional.linear_windows import Windows
from cityseg_ext.functional.logit_blocks import UpsampledBlocks


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(("sources", "results"), [(7, 41), (64, 512), (1, 9), (9, 9), (9, 4), (13, 100)])
@pytest.mark.parametrize("stretch", [1, 8, 128])
def test_windows_interpolate_as_torch_does(sources, results, stretch, align_corners):
    torch.manual_seed(0)
    values = torch.randn(2, 3, sources, dtype=torch.float64, requires_grad=True)
    windows = Windows(sources, results, stretch, align_corners, values)
    wide = F.interpolate(values, results, mode="linear", align_corners=align_corners)
    torch.testing.assert_close(windows.widen(values), wide)
    back = torch.randn_like(wide)
    (gradient,) = torch.autograd.grad(wide, values, back)
    torch.testing.assert_close(windows.narrow(back), gradient)


def test_a_window_is_short():
    assert Windows(64, 512, 8, False, torch.zeros(())).length == 3


@pytest.mark.parametrize("align_corners", [False, True])
def test_blocks_are_strips_of_the_upsampled_logits(align_corners):
    logits = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    blocks = UpsampledBlocks(logits, (21, 33), align_corners, 400)
    whole = F.interpolate(logits, (21, 33), mode="bilinear", align_corners=align_corners).flatten(2)
    assert len(blocks) == 2 * 6 and blocks.pixels == 4 * 33
    for index, strip in enumerate(blocks.parts(whole)):
        exponents = blocks.load(index, blocks.new_buffer())
        torch.testing.assert_close(exponents, strip / math.log(2))
        shift = torch.rand(strip.shape[1], dtype=torch.float64)
        torch.testing.assert_close(blocks.load(index, blocks.new_buffer(), shift), strip / math.log(2) + shift)
