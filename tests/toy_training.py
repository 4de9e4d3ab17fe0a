"""The configuration of a training small enough for a test: 32-pixel tiles, a few thousand weights."""

from medi_core.training.train_diffusion import DiffusionTrainingConfig

TINY_CONFIG = DiffusionTrainingConfig(
    block_out_channels=(16, 24),
    layers_per_block=1,
    head_channels=4,
    norm_num_groups=8,
    attention_head_dim=8,
    side_px=32,
    global_batch=4,
    num_steps=4,
    warmup_steps=2,
    ema_decay=0.9,
)
