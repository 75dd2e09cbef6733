# DeepLabV3 R50 for rare classes: images drawn by what they hold, cropped where that is, and classes weighted in the loss.
_base_ = [
    '_base_/models/deeplabv3_r50-d8.py',
    '_base_/datasets/cityscapes_color_balanced.py',
    '_base_/schedules/adamw_poly.py',
    '_base_/runtime.py',
]
# ENet's weights are bounded; tools/train.py counts the training labels when it meets a name here.
model = dict(
    decode_head=dict(loss_decode=dict(_delete_=True, type='WeightedCrossEntropyLoss', class_weight='enet')),
    auxiliary_head=dict(
        loss_decode=dict(_delete_=True, type='WeightedCrossEntropyLoss', class_weight='enet', loss_weight=0.4)))
# Eight images an update fit a small GPU as two batches of four.
train_dataloader = dict(batch_size=4)
optim_wrapper = dict(accumulative_counts=2)
