# What `make demo` trains: the laptop model on built-in synthetic scenes, a few minutes on two cores.
_base_ = './deeplabv3_r18_focaldice.py'
data_root = 'data/synthetic'
image_size = (192, 384)
# Scenes are all of one size: bring them to three quarters of it and flip them, but neither rescale nor crop.
train_pipeline = [
    dict(type='LoadStreetImage'),
    dict(type='LoadColorMaskAnnotations'),
    dict(type='AlignedResize', scale=(384, 192), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(384, 192), keep_ratio=True),
    dict(type='LoadColorMaskAnnotations'),
    dict(type='PackSegInputs'),
]
tta_pipeline = [
    dict(type='LoadStreetImage'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale=(384, 192), keep_ratio=True)],
            [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0, direction='horizontal')],
            [dict(type='LoadColorMaskAnnotations')],
            [dict(type='PackSegInputs')],
        ]),
]
# Small batches: many steps count more than smooth ones in a run this short.
train_dataloader = dict(batch_size=4, dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
# Without the last stage, whose dilated convolutions cost most.
model = dict(
    data_preprocessor=dict(size=image_size),
    backbone=dict(num_stages=3, strides=(1, 2, 1), dilations=(1, 1, 2), out_indices=(0, 1, 2)),
    decode_head=dict(in_channels=128, in_index=2),
    auxiliary_head=dict(in_channels=64, in_index=1))
# A run of a few hundred steps: one cycle of the learning rate instead of waiting for a plateau.
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=1, end=16, T_max=15, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=16, val_interval=4)
# Convolutions on a CPU are faster in this layout.
custom_hooks = [dict(type='ChannelsLastHook')]
