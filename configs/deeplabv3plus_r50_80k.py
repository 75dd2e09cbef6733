# DeepLabV3+ R50 by the public recipe (model zoo: 80.09 mIoU with cross-entropy and plain sampling), with our loss and
# sampling on top: the one for a serious run.
_base_ = [
    '_base_/models/deeplabv3_r50-d8.py',
    '_base_/datasets/cityscapes_color_balanced.py',
    '_base_/schedules/sgd_80k.py',
]
# The decoder of V3+, and focal + Dice in both heads.
model = dict(
    decode_head=dict(
        type='DepthwiseSeparableASPPHead',
        c1_in_channels=256,
        c1_channels=48,
        loss_decode=dict(_delete_=True, type='FocalDiceLoss')),
    auxiliary_head=dict(loss_decode=dict(_delete_=True, type='FocalDiceLoss', loss_weight=0.4)))
# Crops of 512x1024 out of images at about their full size; validation at full size.
image_size = (512, 1024)
train_pipeline = [
    dict(type='LoadStreetImage'),
    dict(type='LoadColorMaskAnnotations'),
    dict(
        type='RandomResize', resize_type='AlignedResize', scale=(2048, 1024), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='ClassAwareCrop', crop_size=image_size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(2048, 1024), keep_ratio=True),
    dict(type='LoadColorMaskAnnotations'),
    dict(type='PackSegInputs'),
]
tta_pipeline = [
    dict(type='LoadStreetImage'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale=(2048, 1024), keep_ratio=True)],
            [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0, direction='horizontal')],
            [dict(type='LoadColorMaskAnnotations')],
            [dict(type='PackSegInputs')],
        ]),
]
# Eight images an update: on one GPU, or --batch-size 2 on each of four, or with --grad-accum-steps 4.
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
