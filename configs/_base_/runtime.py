# What every experiment shares.
custom_imports = dict(imports=['cityseg_ext.plugin'], allow_failed_imports=False)
default_scope = 'mmseg'
env_cfg = dict(cudnn_benchmark=True, mp_cfg=dict(opencv_num_threads=0), dist_cfg=dict(backend='nccl', timeout=1800))
randomness = dict(seed=0)
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    # Validation is logged at the training iteration, as training is: trackers have one axis for both.
    logger=dict(type='LoggerHook', interval=10, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='SafeCheckpointHook', interval=1, max_keep_ckpts=2, save_best='mDice', rule='greater'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # A stopped run goes on as if it had not been, NaN stays where it arises: docs/reliability.md.
    exact_resume=dict(type='ExactResumeHook'),
    stop_signals=dict(type='StopSignalsHook'),
    finite_guard=dict(type='FiniteGuardHook'),
    # Mistakes told before the first step, both loss terms in the log, samples that were left out, a bar in a terminal.
    preflight=dict(type='PreflightHook'),
    loss_parts=dict(type='LossPartsHook'),
    # The losses upsample the heads' logits strip by strip: same value and gradient, a fraction of the memory.
    fused_upsampling=dict(type='FusedUpsamplingHook'),
    bad_samples=dict(type='BadSamplesHook'),
    progress_bar=dict(type='ProgressBarHook'))
vis_backends = [dict(type='LocalVisBackend')]
# Without a name it gets the run's own: several runs in one process then write to their own folders.
visualizer = dict(type='SegLocalVisualizer', vis_backends=vis_backends)
log_processor = dict(by_epoch=True)
log_level = 'INFO'
load_from = None
resume = False
