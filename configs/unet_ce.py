# UNet from scratch with cross-entropy, void left out: Adam 1e-4, batch 8, 10 epochs.
_base_ = [
    '_base_/models/unet_s5-d16.py',
    '_base_/datasets/cityscapes_color.py',
    '_base_/schedules/adamw_plateau.py',
    '_base_/runtime.py',
]
# The recipe of the project that this one replaces: one learning rate for all of a short run.
optim_wrapper = dict(optimizer=dict(_delete_=True, type='Adam', lr=1e-4))
param_scheduler = []
train_cfg = dict(max_epochs=10)
