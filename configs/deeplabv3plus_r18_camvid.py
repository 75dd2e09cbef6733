# deeplabv3plus_camvid.py for half an hour on two CPU cores; chosen without looking at val, see docs/results.md.
_base_ = './deeplabv3plus_camvid.py'
# Three quarters of the frames' size leave time for more steps; crops are half of a frame.
image_size = (180, 240)
train_pipeline = [
    dict(type='LoadStreetImage'),
    dict(type='LoadColorMaskAnnotations'),
    dict(
        type='RandomResize', resize_type='AlignedResize', scale=(360, 270), ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type='ClassAwareCrop', crop_size=image_size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(360, 270), keep_ratio=True),
    dict(type='LoadColorMaskAnnotations'),
    dict(type='PackSegInputs'),
]
tta_pipeline = [
    dict(type='LoadStreetImage'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale=(360, 270), keep_ratio=True)],
            [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0, direction='horizontal')],
            [dict(type='LoadColorMaskAnnotations')],
            [dict(type='PackSegInputs')],
        ]),
]
train_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
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
    dict(type='CosineAnnealingLR', by_epoch=True, begin=1, end=110, T_max=109, convert_to_iter_based=True),
]
# One validation, at the end: nothing is chosen by it.
train_cfg = dict(max_epochs=110, val_interval=110)
custom_hooks = [dict(type='ChannelsLastHook'), dict(type='EMAHook', momentum=1e-2)]
