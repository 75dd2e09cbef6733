# The baseline of deeplabv3_r18_focaldice.py: equal in everything but the loss.
_base_ = [
    '_base_/models/deeplabv3_r18-d8_small.py',
    '_base_/datasets/cityscapes_color.py',
    '_base_/schedules/adamw_plateau.py',
    '_base_/runtime.py',
]
# A laptop has few cores.
train_dataloader = dict(batch_size=8, num_workers=2)
val_dataloader = dict(num_workers=2)
test_dataloader = dict(num_workers=2)
