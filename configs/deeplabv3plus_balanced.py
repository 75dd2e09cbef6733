# deeplabv3_balanced.py with the decoder of DeepLabV3+.
_base_ = './deeplabv3_balanced.py'
# Features of the first stage, at a quarter of the input's size, bring back the borders that output stride 8 has lost.
model = dict(decode_head=dict(type='DepthwiseSeparableASPPHead', c1_in_channels=256, c1_channels=48))
