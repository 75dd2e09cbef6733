# DeepLabV3 ConvNeXt-Tiny with 1.5 x focal + 1.0 x Dice: deeplabv3_focaldice.py with another backbone and its recipe.
_base_ = './deeplabv3_focaldice.py'
model = dict(
    # Output stride 16, as in the DeepLabV3 paper: at 8 the backbone would cost three times as much. Nothing is frozen.
    backbone=dict(
        _delete_=True,
        type='PlainConvNeXt',
        arch='tiny',
        output_stride=16,
        # Those that the heads use: norms of others would get no gradient, which several GPUs do not allow.
        out_indices=(2, 3),
        # As in the public segmentors with ConvNeXt-Tiny.
        drop_path_rate=0.4,
        # ImageNet weights; `--pretrained none` trains from scratch.
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmclassification/v0/convnext/downstream/'
            'convnext-tiny_3rdparty_32xb128-noema_in1k_20220301-795e9634.pth',
            prefix='backbone.')),
    # Twice the stride needs half the dilation to look equally far.
    decode_head=dict(in_channels=768, in_index=1, dilations=(1, 6, 12, 18)),
    auxiliary_head=dict(in_channels=384, in_index=0))
# AdamW as the public segmentors have it: biases, norms and layer scales are vectors, and not decayed.
optim_wrapper = dict(optimizer=dict(lr=1e-4, weight_decay=0.05), paramwise_cfg=dict(flat_decay_mult=0.0))
