# UNet from scratch for all 29 labels with a colour, from labelIds, at 128x128: small enough for a laptop's GPU.
_base_ = [
    '_base_/models/unet_s5-d16.py',
    '_base_/datasets/cityscapes_color.py',
    '_base_/schedules/adamw_plateau.py',
    '_base_/runtime.py',
]
image_size = (128, 128)  # height, width
# From label ids all 29 are told apart; in colours polegroup is pole.
labels = dict(source='label_ids', taxonomy='cityscapes29')
# Whole images, squashed to a square as in the project that this one replaces; scores are those of the original size.
train_pipeline = [
    dict(type='LoadStreetImage'),
    dict(type='LoadColorMaskAnnotations'),
    dict(type='AlignedResize', scale=(128, 128), keep_ratio=False),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(128, 128), keep_ratio=False),
    dict(type='LoadColorMaskAnnotations'),
    dict(type='PackSegInputs'),
]
tta_pipeline = [
    dict(type='LoadStreetImage'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale=(128, 128), keep_ratio=False)],
            [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0, direction='horizontal')],
            [dict(type='LoadColorMaskAnnotations')],
            [dict(type='PackSegInputs')],
        ]),
]
train_dataloader = dict(batch_size=16, num_workers=2, dataset=dict(pipeline=train_pipeline, **labels))
val_dataloader = dict(num_workers=2, dataset=dict(pipeline=test_pipeline, **labels))
test_dataloader = val_dataloader
# Half of the usual width, a quarter of its weights; `--unet-width` and `--unet-depth` change it.
model = dict(
    backbone=dict(base_channels=32),
    decode_head=dict(in_channels=32, channels=32, num_classes=29),
    auxiliary_head=dict(in_channels=64, channels=32, num_classes=29))
# From scratch with small batches: Adam at its usual 1e-3, halved on a plateau of the validation loss.
optim_wrapper = dict(optimizer=dict(_delete_=True, type='Adam', lr=1e-3))
train_cfg = dict(max_epochs=40)
# What this experiment is judged by.
default_hooks = dict(checkpoint=dict(save_best='mIoU'))
