# The baseline of deeplabv3_focaldice.py: equal in everything but the loss.
_base_ = [
    '_base_/models/deeplabv3_r50-d8.py',
    '_base_/datasets/cityscapes_color.py',
    '_base_/schedules/adamw_plateau.py',
    '_base_/runtime.py',
]
# Stem and first two stages keep their ImageNet weights, as in the project that this one replaces: less to compute.
model = dict(backbone=dict(frozen_stages=2))
# Batch 32: BatchNorm and the pooled Dice then see pixels of rare classes in most steps.
train_dataloader = dict(batch_size=32)
