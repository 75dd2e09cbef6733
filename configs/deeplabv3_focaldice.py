# DeepLabV3 R50 trained on colour masks with 1.5 x focal + 1.0 x Dice.
_base_ = './deeplabv3_ce.py'
# The focal term looks at pixels that are hard, the Dice term gives every class the same say, however few its pixels.
model = dict(
    decode_head=dict(
        loss_decode=dict(
            _delete_=True, type='FocalDiceLoss', focal_weight=1.5, dice_weight=1.0, gamma=2.0, loss_weight=1.0)),
    auxiliary_head=dict(
        loss_decode=dict(
            _delete_=True, type='FocalDiceLoss', focal_weight=1.5, dice_weight=1.0, gamma=2.0, loss_weight=0.4)))
