# DeepLabV3+ R50 from scratch on CamVid in the Cityscapes layout (11 of 19 classes, 480x360), for a GPU, with all that
# this package has for rare classes and few frames: sampler, crops by class, weighted FocalDice, averaged weights.
_base_ = [
    '_base_/models/deeplabv3_r50-d8.py',
    '_base_/datasets/cityscapes_color_balanced.py',
    '_base_/schedules/adamw_poly.py',
    '_base_/runtime.py',
]
data_root = 'data/camvid'
# Whole frames, half as large to twice as large as they are; what is smaller is padded, what is larger cropped.
image_size = (360, 480)
train_pipeline = [
    dict(type='LoadStreetImage'),
    dict(type='LoadColorMaskAnnotations'),
    dict(
        type='RandomResize', resize_type='AlignedResize', scale=(480, 360), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='ClassAwareCrop', crop_size=image_size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(480, 360), keep_ratio=True),
    dict(type='LoadColorMaskAnnotations'),
    dict(type='PackSegInputs'),
]
tta_pipeline = [
    dict(type='LoadStreetImage'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale=(480, 360), keep_ratio=True)],
            [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0, direction='horizontal')],
            [dict(type='LoadColorMaskAnnotations')],
            [dict(type='PackSegInputs')],
        ]),
]
train_dataloader = dict(batch_size=16, num_workers=12, dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
# Half the resolution of Cityscapes needs half the dilation to look equally far.
model = dict(
    data_preprocessor=dict(size=image_size),
    backbone=dict(init_cfg=None),
    decode_head=dict(
        type='DepthwiseSeparableASPPHead',
        c1_in_channels=256, c1_channels=48,
        dilations=(1, 6, 12, 18),
        loss_decode=dict(_delete_=True, type='FocalDiceLoss', class_weight='enet')),
    auxiliary_head=dict(
        loss_decode=dict(_delete_=True, type='FocalDiceLoss', class_weight='enet', loss_weight=0.4)))
optim_wrapper = dict(type='BFloat16OptimWrapper', optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type='PolyLR', power=0.9, eta_min=0.0, by_epoch=True, begin=5, end=400, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=400, val_interval=20)
default_hooks = dict(checkpoint=dict(interval=20))
custom_hooks = [dict(type='ChannelsLastHook'), dict(type='EMAHook', momentum=2e-3)]
