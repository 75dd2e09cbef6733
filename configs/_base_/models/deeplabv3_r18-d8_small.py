# DeepLabV3 for a laptop: ResNet-18 of half width, and a narrow ASPP.
_base_ = './deeplabv3_r50-d8.py'
model = dict(
    # No public weights exist for this width: trained from scratch.
    backbone=dict(init_cfg=None, depth=18, base_channels=32, stem_channels=32),
    # Half resolution needs half the dilation to look equally far.
    decode_head=dict(in_channels=256, channels=64, dilations=(1, 6, 12, 18)),
    auxiliary_head=dict(in_channels=128, channels=32))
