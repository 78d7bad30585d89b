"""Pipelines of the XL layout with random weights, and what goes on top of a pipeline, small enough for a test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from models.diffusion.networks import _autoencoder, build_tokenizer
from models.diffusion.objectives import make_noise_schedule
from tests.models.diffusion.tiny import CAPTIONS, TINY

WIDTH, PROJECTED, TIME = 16, 16, 8


def make_tiny_xl(folder: Path, union: bool = False) -> Path:
    """Write a random XL + ControlNet folder of 32 px images; the ControlNet's zero convolutions are filled."""
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(0)
    tokenizer = build_tokenizer(CAPTIONS, TINY.max_tokens)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=TINY.max_tokens, projection_dim=PROJECTED, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    unet: Any = diffusers.UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, block_out_channels=(8, 16),
        layers_per_block=1, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=2 * WIDTH, attention_head_dim=2,
        norm_num_groups=4, addition_embed_type="text_time", addition_time_embed_dim=TIME, use_linear_projection=True,
        projection_class_embeddings_input_dim=6 * TIME + PROJECTED,
    )  # fmt: skip
    control = _union(unet) if union else diffusers.ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 16))
    for layer in (*control.controlnet_down_blocks, control.controlnet_mid_block, control.controlnet_cond_embedding.conv_out):
        torch.nn.init.normal_(layer.weight, 0, 0.5)
    name = f"StableDiffusionXLControlNet{'Union' if union else ''}Pipeline"
    pipeline = getattr(diffusers, name)(
        vae=_autoencoder(replace(TINY, latent_channels=4)),
        text_encoder=CLIPTextModel(text), text_encoder_2=CLIPTextModelWithProjection(text),
        tokenizer=tokenizer, tokenizer_2=tokenizer, unet=unet, controlnet=control, scheduler=make_noise_schedule("epsilon"),
        add_watermarker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder)
    return folder


def _union(unet: Any) -> Any:
    """from_unet leaves its transformer at full width."""
    from diffusers import ControlNetUnionModel

    keys = ("in_channels", "block_out_channels", "layers_per_block", "down_block_types", "cross_attention_dim",
            "attention_head_dim", "norm_num_groups", "addition_embed_type", "addition_time_embed_dim", "use_linear_projection",
            "projection_class_embeddings_input_dim")  # fmt: skip
    told = {key: unet.config[key] for key in keys}
    return ControlNetUnionModel(
        conditioning_embedding_out_channels=(8, 16), num_trans_channel=8, num_trans_head=2, num_proj_channel=8, **told
    )


def write_lora(path: Path, pipeline_folder: Path) -> Path:
    """A random LoRA for the attention of a pipeline's UNet, as diffusers' training scripts write one."""
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    torch.manual_seed(1)
    unet: Any = UNet2DConditionModel.from_pretrained(pipeline_folder / "unet")
    unet.add_adapter(LoraConfig(r=2, init_lora_weights=False, target_modules=["to_q", "to_v"]))
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    StableDiffusionPipeline.save_lora_weights(path.parent, unet_lora_layers=layers, weight_name=path.name)
    return path


def write_ip_adapter(folder: Path, pipeline_folder: Path) -> Path:
    """A random IP-Adapter (Ye et al. 2023, the plain one with four tokens) with its image encoder."""
    from diffusers import UNet2DConditionModel
    from safetensors.torch import save_file
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(2)
    unet: Any = UNet2DConditionModel.from_pretrained(pipeline_folder / "unet")
    width, tensors = unet.config.cross_attention_dim, {}
    tensors["image_proj.proj.weight"] = torch.randn(4 * width, PROJECTED)
    tensors["image_proj.proj.bias"] = torch.randn(4 * width)
    tensors["image_proj.norm.weight"], tensors["image_proj.norm.bias"] = torch.ones(width), torch.zeros(width)
    crossed = [name for name in unet.attn_processors if "attn2" in name]
    for number, name in enumerate(crossed):
        layer = unet.get_submodule(name.removesuffix(".processor")).to_k
        for key in ("to_k_ip", "to_v_ip"):
            tensors[f"ip_adapter.{2 * number + 1}.{key}.weight"] = torch.randn(layer.weight.shape)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "ip-adapter.safetensors")
    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=224, patch_size=56,
        projection_dim=PROJECTED,
    )  # fmt: skip
    CLIPVisionModelWithProjection(config).save_pretrained(folder / "image_encoder")
    return folder
