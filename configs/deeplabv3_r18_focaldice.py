# The laptop model with 1.5 x focal + 1.0 x Dice (FocalDiceLoss' defaults), from scratch.
_base_ = './deeplabv3_r18_ce.py'
model = dict(
    decode_head=dict(loss_decode=dict(_delete_=True, type='FocalDiceLoss')),
    auxiliary_head=dict(loss_decode=dict(_delete_=True, type='FocalDiceLoss', loss_weight=0.4)))
