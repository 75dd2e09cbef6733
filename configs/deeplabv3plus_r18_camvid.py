# deeplabv3plus_camvid.py for half an hour on two CPU cores; chosen without looking at val, see docs/results.md.
_base_ = './deeplabv3plus_camvid.py'
image_size = (240, 320)
train_pipeline = [
    dict(type='LoadStreetImage'),
    dict(type='LoadColorMaskAnnotations'),
    dict(
        type='RandomResize', resize_type='AlignedResize', scale=(480, 360), ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type='ClassAwareCrop', crop_size=image_size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(batch_size=8, num_workers=2, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=2)
test_dataloader = dict(num_workers=2)
# A narrow ResNet-18 at output stride 16, where convolutions cost a third of what they cost at 8.
model = dict(
    data_preprocessor=dict(size=image_size),
    backbone=dict(
        depth=18, base_channels=32, stem_channels=32, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)),
    decode_head=dict(in_channels=256, channels=64, c1_in_channels=32, c1_channels=24, dilations=(1, 3, 6, 9)),
    auxiliary_head=dict(in_channels=128, channels=32))
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=1, end=40, T_max=39, convert_to_iter_based=True),
]
# One validation, at the end: nothing is chosen by it.
train_cfg = dict(max_epochs=40, val_interval=40)
custom_hooks = [dict(type='ChannelsLastHook'), dict(type='EMAHook', momentum=1e-2)]
