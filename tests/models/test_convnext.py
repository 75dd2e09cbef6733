import pytest
import torch
from torch import nn

from cityseg_ext.models.convnext import ARCHITECTURES, PlainConvNeXt

SMALL = dict(depths=(1, 2, 2, 1), channels=(4, 6, 8, 10))
CLASSIFIERS = {"tiny": 28_589_128, "small": 50_223_688, "base": 88_591_464}
"""Parameters of the published ImageNet classifiers, head included."""


def network(seed=0, **options):
    """In float64, with every parameter random, so that each one matters."""
    torch.manual_seed(seed)
    net = PlainConvNeXt(SMALL, drop_path_rate=0.0, **options).double()
    for name, parameter in net.named_parameters():
        nn.init.normal_(parameter, mean=float("norm" in name or "gamma" in name), std=0.3)
    return net.eval()


def reference(weights, image):
    """The paper's network on one image (C, H, W) of whole cells, one output pixel at a time."""

    def norm(x, name):  # over the channels of (H, W, C)
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-6).sqrt()
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def patches(x, size, name):  # each cell of size x size becomes one pixel
        rows, columns = x.shape[0] // size, x.shape[1] // size
        cells = x.reshape(rows, size, columns, size, -1)
        return torch.einsum("rycxi,oiyx->rco", cells, weights[f"{name}.weight"]) + weights[f"{name}.bias"]

    def depthwise(x, name):
        height, width, _ = x.shape
        out = torch.zeros_like(x) + weights[f"{name}.bias"]
        for y in range(height):
            for x_ in range(width):
                for ky in range(max(0, y - 3), min(height, y + 4)):
                    for kx in range(max(0, x_ - 3), min(width, x_ + 4)):
                        out[y, x_] += x[ky, kx] * weights[f"{name}.weight"][:, 0, ky - y + 3, kx - x_ + 3]
        return out

    def block(x, name):
        y = norm(depthwise(x, f"{name}.depthwise_conv"), f"{name}.norm")
        y = y @ weights[f"{name}.pointwise_conv1.weight"].T + weights[f"{name}.pointwise_conv1.bias"]
        y = y * (1 + torch.erf(y / 2**0.5)) / 2
        y = y @ weights[f"{name}.pointwise_conv2.weight"].T + weights[f"{name}.pointwise_conv2.bias"]
        return x + weights[f"{name}.gamma"] * y

    x, features = image.permute(1, 2, 0), []
    for stage, depth in enumerate(SMALL["depths"]):
        if stage == 0:
            x = norm(patches(x, 4, "downsample_layers.0.0"), "downsample_layers.0.1")
        else:
            x = patches(norm(x, f"downsample_layers.{stage}.0"), 2, f"downsample_layers.{stage}.1")
        for index in range(depth):
            x = block(x, f"stages.{stage}.{index}")
        features.append(norm(x, f"norm{stage}").permute(2, 0, 1))
    return features


def public_shapes(depths, channels):
    """Names and shapes of the public files, written out layer by layer."""
    shapes = {}

    def add(name, *shape):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, shape[:1]

    for stage, (depth, width) in enumerate(zip(depths, channels, strict=True)):
        if stage == 0:
            add("downsample_layers.0.0", width, 3, 4, 4)
            add("downsample_layers.0.1", width)
        else:
            add(f"downsample_layers.{stage}.0", channels[stage - 1])
            add(f"downsample_layers.{stage}.1", width, channels[stage - 1], 2, 2)
        for index in range(depth):
            block = f"stages.{stage}.{index}"
            shapes[f"{block}.gamma"] = (width,)
            add(f"{block}.depthwise_conv", width, 1, 7, 7)
            add(f"{block}.norm", width)
            add(f"{block}.pointwise_conv1", 4 * width, width)
            add(f"{block}.pointwise_conv2", width, 4 * width)
        add(f"norm{stage}", width)
    return shapes


@pytest.mark.parametrize("output_stride", [32, 8])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_parameters_are_those_of_the_public_files(arch, output_stride):
    with torch.device("meta"):
        net = PlainConvNeXt(arch, output_stride=output_stride)
    shapes = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    assert shapes == public_shapes(**ARCHITECTURES[arch])
    channels = ARCHITECTURES[arch]["channels"]
    classifier = sum(value.numel() for value in net.parameters()) - 2 * sum(channels[:3]) + channels[3] * 1000 + 1000
    assert classifier == CLASSIFIERS[arch]


def test_it_is_the_papers_network():
    net, image = network(), torch.randn(2, 3, 64, 96, dtype=torch.float64)
    for index, features in enumerate(net(image)):
        for number in range(len(image)):
            torch.testing.assert_close(features[number], reference(net.state_dict(), image[number])[index])


@pytest.mark.parametrize(("output_stride", "first", "step"), [(16, 0, 2), (8, 1, 4)])
def test_a_smaller_stride_keeps_the_features_and_adds_those_between(output_stride, first, step):
    image = torch.randn(1, 3, 128, 192, dtype=torch.float64)
    whole, dense = network(), network(output_stride=output_stride)
    dense.load_state_dict(whole.state_dict())
    assert dense(image)[3].shape[-2:] == (128 // output_stride, 192 // output_stride)
    torch.testing.assert_close(dense(image)[3][..., first::step, first::step], whole(image)[3])
    for index in (0, 1):
        torch.testing.assert_close(dense(image)[index], whole(image)[index])


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (61, 129)])
@pytest.mark.parametrize("output_stride", [32, 16, 8])
def test_any_size_and_memory_format(size, output_stride):
    net, image = network(output_stride=output_stride), torch.randn(1, 3, *size, dtype=torch.float64)
    plain = net(image)
    net.to(memory_format=torch.channels_last)
    for features, again in zip(plain, net(image.contiguous(memory_format=torch.channels_last)), strict=True):
        torch.testing.assert_close(features, again)
        assert again.is_contiguous(memory_format=torch.channels_last)
    sum(features.sum() for features in net.train()(image)).backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_bfloat16():
    net, image = network().float().train(), torch.randn(1, 3, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        half = net(image)
    for features, exact in zip(half, net(image), strict=True):
        assert (features - exact).abs().mean() < 0.05  # of features whose spread is about 1
    sum(features.float().sum() for features in half).backward()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())


def test_recomputed_activations_give_the_same_gradients():
    image = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    grads = []
    for with_cp in (False, True):
        net = network(with_cp=with_cp).train()
        sum((features**2).sum() for features in net(image)).backward()
        grads.append({name: parameter.grad for name, parameter in net.named_parameters()})
    torch.testing.assert_close(grads[0], grads[1])


def test_stochastic_depth_grows_and_is_off_at_test_time():
    net = PlainConvNeXt("tiny", drop_path_rate=0.4)
    rates = [block.drop_path.drop_prob for stage in net.stages for block in stage]
    assert len(rates) == 18 and rates[0] == 0 and rates[-1] == pytest.approx(0.4)
    assert rates == pytest.approx([0.4 * index / 17 for index in range(18)])
    net = PlainConvNeXt(SMALL, drop_path_rate=0.9, layer_scale_init_value=1.0)
    image = torch.randn(8, 3, 32, 32)
    torch.manual_seed(0)
    assert not torch.equal(net(image)[3], net(image)[3])
    net.eval()
    assert torch.equal(net(image)[3], net(image)[3])


@pytest.mark.parametrize("count", range(-1, 5))
def test_frozen_stages(count):
    net = PlainConvNeXt(SMALL, frozen_stages=count).train()
    trained = {name for name, parameter in net.named_parameters() if parameter.requires_grad}
    for name, _ in net.named_parameters():
        part, _, rest = name.partition(".")
        stage = int(rest.split(".")[0]) if part in ("stages", "downsample_layers") else None
        is_stem = part == "downsample_layers" and stage == 0
        frozen = stage is not None and (stage < count or (is_stem and count == 0))
        assert (name not in trained) == frozen, name
    assert [stage.training for stage in net.stages] == [index >= count for index in range(4)]


def test_only_the_features_asked_for():
    net = network(out_indices=(1, 3))
    assert not {"norm0.weight", "norm2.weight"} & set(net.state_dict())
    full, image = network(), torch.randn(1, 3, 32, 64, dtype=torch.float64)
    net.load_state_dict(full.state_dict(), strict=False)
    for features, index in zip(net(image), (1, 3), strict=True):
        torch.testing.assert_close(features, full(image)[index])


def test_initial_weights():
    torch.manual_seed(0)
    net = PlainConvNeXt("tiny")
    net.init_weights()
    state = net.state_dict()
    assert state["stages.2.0.pointwise_conv1.weight"].std() == pytest.approx(0.02, rel=0.02)
    assert not state["stages.2.0.pointwise_conv1.bias"].any() and not state["downsample_layers.0.0.bias"].any()
    assert torch.equal(state["stages.3.2.gamma"], torch.full((768,), 1e-6))
    assert torch.equal(state["norm3.weight"], torch.ones(768))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(arch="tinny"), "`arch` to be one of .*'tinny'. Did you mean 'tiny'"),
        (dict(arch=dict(depths=(1, 1), channels=(4, 8))), "`arch` to be a name or a dict with four depths"),
        (dict(arch=dict(depths=(1, 1, 0, 1), channels=(4, 8, 8, 8))), "`arch` to be a name or a dict with four depths"),
        (dict(output_stride=4), r"`output_stride` to be one of \[32, 16, 8\], but got 4"),
        (dict(out_indices=(0, 4)), "`out_indices` to be one of .* but got 4"),
        (dict(frozen_stages=5), "`frozen_stages` to be one of .* but got 5"),
        (dict(drop_path_rate=1.0), r"`drop_path_rate` to be in \[0, 1\), but got 1.0"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        PlainConvNeXt(**options)
