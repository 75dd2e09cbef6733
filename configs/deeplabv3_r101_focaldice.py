# DeepLabV3 R101 with 1.5 x focal + 1.0 x Dice: deeplabv3_focaldice.py with a deeper backbone.
_base_ = './deeplabv3_focaldice.py'
# The third stage has 23 blocks instead of 6; all else is equal, so that a difference in scores is the backbone's.
model = dict(backbone=dict(depth=101, init_cfg=dict(checkpoint='open-mmlab://resnet101_v1c')))
