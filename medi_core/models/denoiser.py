"""The denoiser: a noisy tile, its noise level and a conditioning vector → the clean tile.

The module path is recorded in checkpoints (`model_index.json`): never rename it.
"""

import torch
from diffusers import ConfigMixin, ModelMixin, UNet2DModel
from diffusers.configuration_utils import register_to_config
from torch import nn
from torch.nn import functional as F

NUM_TRAIN_TIMESTEPS = 1000
"""diffusers' flow-matching schedulers count noise levels σ ∈ [0, 1] as timesteps σ · 1000."""


class Denoiser(ModelMixin, ConfigMixin):
    """Stock diffusers U-Net on pixel-unshuffled tiles, with a small head at full resolution.

    Unshuffling by 4 turns 3 × 128 × 128 pixels into 48 × 32 × 32, where a convolution costs a 16th.
    A U-Net that ended there would draw each 4 × 4 block on its own and leave a faint grid; the head
    sees its neighbours, and the noisy tile itself.

    The network predicts the clean tile x; "Back to basics: let denoising generative models denoise"
    (Li and He 2025) shows why that is the easier target in pixel space.

    Args:
        block_out_channels: U-Net widths at 1/4, 1/8, 1/16 … of the tile's side.
        layers_per_block: residual blocks a level.
        patch_px: factor of the pixel-unshuffle.
        head_channels: feature channels a pixel between U-Net and head.
        norm_num_groups: groups of each group norm; divides all widths.
        attention_head_dim: channels a head of the attention in the lowest level.
    """

    @register_to_config
    def __init__(
        self,
        block_out_channels: tuple[int, ...] = (96, 192, 288),
        layers_per_block: int = 2,
        patch_px: int = 4,
        head_channels: int = 16,
        norm_num_groups: int = 32,
        attention_head_dim: int = 48,
    ) -> None:
        super().__init__()
        levels = len(block_out_channels)
        self.unet = UNet2DModel(
            in_channels=3 * patch_px**2,
            out_channels=head_channels * patch_px**2,
            block_out_channels=tuple(block_out_channels),
            down_block_types=("DownBlock2D",) * levels,
            up_block_types=("UpBlock2D",) * levels,
            layers_per_block=layers_per_block,
            norm_num_groups=norm_num_groups,
            attention_head_dim=attention_head_dim,
            class_embed_type="identity",
            resnet_time_scale_shift="scale_shift",
        )
        self.head = nn.Sequential(
            nn.Conv2d(head_channels + 3, 2 * head_channels, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(2 * head_channels, 3, 3, padding=1),
        )

    @property
    def embedding_dim(self) -> int:
        """E of the conditioning vector."""
        return 4 * self.config.block_out_channels[0]

    @property
    def side_multiple_px(self) -> int:
        """Height and width must be multiples of this."""
        return self.config.patch_px * 2 ** (len(self.config.block_out_channels) - 1)

    def forward(self, x_t: torch.Tensor, timesteps: torch.Tensor, conditioning: torch.Tensor) -> torch.Tensor:
        """Predict the clean tiles.

        Args:
            x_t: `(B, 3, H, W)`, (1 − σ) · tile + σ · noise with tiles in [−1, 1].
            timesteps: `(B,)`, σ · 1000.
            conditioning: `(B, E)` from the metadata embedder.

        Returns:
            `(B, 3, H, W)`, about [−1, 1].
        """
        patches = F.pixel_unshuffle(x_t, self.config.patch_px)  # (B, 3, H, W) → (B, 48, H/4, W/4)
        features = self.unet(patches, timesteps, class_labels=conditioning).sample
        features = F.pixel_shuffle(features, self.config.patch_px)  # → (B, head_channels, H, W)
        return self.head(torch.cat([features, x_t.to(features.dtype)], dim=1))
