# UNet at 256x256 on image pairs (photograph and colour mask side by side in one JPEG) with 1.5 x focal + 1.0 x Dice.
_base_ = [
    '_base_/models/unet_s5-d16.py',
    '_base_/datasets/cityscapes_pairs.py',
    '_base_/schedules/adamw_plateau.py',
    '_base_/runtime.py',
]
# The loss of deeplabv3_focaldice.py, on the head before the last stage too.
model = dict(
    decode_head=dict(loss_decode=dict(_delete_=True, type='FocalDiceLoss')),
    auxiliary_head=dict(loss_decode=dict(_delete_=True, type='FocalDiceLoss', loss_weight=0.4)))
# Some tens of epochs, as the projects that trained on such pairs did; the schedule waits for plateaus meanwhile.
train_cfg = dict(max_epochs=40)
