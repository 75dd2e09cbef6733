# unet_ce.py with 1.5 x focal + 1.0 x Dice: equal in everything but the loss.
_base_ = './unet_ce.py'
# The head before the last stage has it too.
model = dict(
    decode_head=dict(loss_decode=dict(_delete_=True, type='FocalDiceLoss')),
    auxiliary_head=dict(loss_decode=dict(_delete_=True, type='FocalDiceLoss', loss_weight=0.4)))
