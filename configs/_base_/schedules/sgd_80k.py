# The public recipe for Cityscapes: SGD at 0.01, to 1e-4 by a power of 0.9 over 80,000 updates.
_base_ = '../runtime.py'
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0005))
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=1e-4, by_epoch=False, begin=0, end=80000)]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=80000, val_interval=8000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# Everything is counted in iterations.
log_processor = dict(by_epoch=False)
default_hooks = dict(
    logger=dict(interval=50), checkpoint=dict(by_epoch=False, interval=8000))
