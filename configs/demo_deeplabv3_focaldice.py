# What `make demo` trains: the laptop model on built-in synthetic scenes (256x512), a few minutes on two cores.
_base_ = './deeplabv3_r18_focaldice.py'
# Scenes are small and all of one size: flip them, but neither rescale nor crop.
train_pipeline = [
    dict(type='LoadStreetImage'),
    dict(type='LoadColorMaskAnnotations'),
    dict(type='Resize', scale=(512, 256), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
data_root = 'data/synthetic'
model = dict(data_preprocessor=dict(size=(256, 512)))
train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
# The whole run is a few hundred steps: one cycle of the learning rate instead of waiting for a plateau.
optim_wrapper = dict(optimizer=dict(lr=2e-3))
