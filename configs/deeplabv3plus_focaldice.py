# DeepLabV3+ R50 with 1.5 x focal + 1.0 x Dice: deeplabv3_focaldice.py with the decoder of V3+.
_base_ = './deeplabv3_focaldice.py'
# Features of the first stage, at a quarter of the input's size, bring back the borders that output stride 8 has lost.
model = dict(decode_head=dict(type='DepthwiseSeparableASPPHead', c1_in_channels=256, c1_channels=48))
