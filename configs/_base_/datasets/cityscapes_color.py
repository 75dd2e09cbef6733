# Cityscapes, trained from the colour masks (gtFine_color.png). `--data-root` and `--image-size` change the two facts
# below in every place where they are used.
data_root = 'data/cityscapes'
image_size = (512, 1024)  # height, width
dataset_type = 'CityscapesColorMaskDataset'

train_pipeline = [
    dict(type='LoadStreetImage'),
    dict(type='LoadColorMaskAnnotations'),
    # AlignedResize: mmcv's own moves labels by up to half a pixel against their photograph.
    dict(
        type='RandomResize', resize_type='AlignedResize', scale=(1024, 512), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=image_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
# The mask is loaded after Resize, because predictions are brought to the original size and scored there. mmseg's
# MMSegInferencer looks for LoadImageFromFile by this name; our data sets read it as LoadStreetImage.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(1024, 512), keep_ratio=True),
    dict(type='LoadColorMaskAnnotations'),
    dict(type='PackSegInputs'),
]
tta_pipeline = [
    dict(type='LoadStreetImage'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale=(1024, 512), keep_ratio=True)],
            [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0, direction='horizontal')],
            [dict(type='LoadColorMaskAnnotations')],
            [dict(type='PackSegInputs')],
        ]),
]
tta_model = dict(type='MeanProbabilityTTA')

train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    # ASPP's image pooling cannot normalise a last batch of one image.
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
        test_mode=True,
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = [dict(type='DiceMetric'), dict(type='ValidationLoss')]
test_evaluator = val_evaluator
