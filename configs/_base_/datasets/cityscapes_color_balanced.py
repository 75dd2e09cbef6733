# cityscapes_color.py with training images drawn by the rarity of what they hold, and cropped where that is.
_base_ = './cityscapes_color.py'
image_size = (512, 1024)
train_pipeline = [
    dict(type='LoadStreetImage'),
    dict(type='LoadColorMaskAnnotations'),
    dict(
        type='RandomResize', resize_type='AlignedResize', scale=(1024, 512), ratio_range=(0.5, 2.0), keep_ratio=True),
    # A crop anywhere would lose the class that the image was drawn for.
    dict(type='ClassAwareCrop', crop_size=image_size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    sampler=dict(_delete_=True, type='ClassBalancedSampler'), dataset=dict(pipeline=train_pipeline))
