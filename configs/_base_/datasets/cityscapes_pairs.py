# Pairs as they come: train/1.jpg ..., photograph in the left half and colour mask in the right one. `--data-root` and
# `--image-size` change the two facts below in every place where they are used.
data_root = 'data/cityscapes_pairs'
image_size = (256, 256)  # height, width
dataset_type = 'CityscapesPairsDataset'

train_pipeline = [
    dict(type='LoadStreetImage'),
    # Masks that were resized and saved as JPEG have mixed colours, which the official table does not know.
    dict(type='LoadColorMaskAnnotations', mode='robust'),
    # AlignedResize: mmcv's own moves labels by up to half a pixel against their photograph.
    dict(
        type='RandomResize', resize_type='AlignedResize', scale=(256, 256), ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=image_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
# The mask is loaded after Resize, because predictions are brought to the original size and scored there.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(256, 256), keep_ratio=True),
    dict(type='LoadColorMaskAnnotations', mode='robust'),
    dict(type='PackSegInputs'),
]
tta_pipeline = [
    dict(type='LoadStreetImage'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale=(256, 256), keep_ratio=True)],
            [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0, direction='horizontal')],
            [dict(type='LoadColorMaskAnnotations', mode='robust')],
            [dict(type='PackSegInputs')],
        ]),
]
tta_model = dict(type='MeanProbabilityTTA')

train_dataloader = dict(
    batch_size=8,
    num_workers=2,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type, data_root=data_root, data_prefix=dict(img_path='train'), pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='val'),
        test_mode=True,
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = [dict(type='DiceMetric'), dict(type='ValidationLoss')]
test_evaluator = val_evaluator
