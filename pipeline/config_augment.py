"""Settings of the augment stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config_section import Section


class AugmentConfig(Section):
    """Synthesising new images under the same poses."""

    enabled: bool = Field(True, description="make generated images at all")
    mode: Literal["new_scene", "keep_background", "change_person", "restyle"] = Field(
        "new_scene",
        description="new_scene: all new; keep_background: new people in the captured picture (inpainting); change_person: the "
        "same, begun from the captured people; restyle: all of the captured picture changed by augment.strength",
    )
    strength: float = Field(
        0.7, gt=0, le=1, description="share of noise in change_person and restyle; 1 forgets what was there"
    )
    mask_margin: float = Field(
        0.04, ge=0, le=0.5, description="inpainting goes beyond bodies by this share of the image's side"
    )
    model: str = Field(
        "",
        description="a Stable Diffusion model (1.5, 2.1 or XL): a diffusers folder, a single .safetensors file, or a hub id; "
        "empty: the shipped studio-diffusion",
    )
    controlnets: tuple[str, ...] = Field(
        (), description="folders or hub ids of ControlNets, for a model that brings none; one for each condition, or one union"
    )
    conditions: tuple[Literal["pose", "depth", "mask"], ...] = Field(
        ("pose",), min_length=1, description="what is drawn for the ControlNets, in their order"
    )
    loras: tuple[str, ...] = Field((), description="LoRA files on top of the model, each FILE or FILE=WEIGHT")
    ip_adapter: str = Field("", description="folder of an IP-Adapter: a .safetensors file and image_encoder/")
    identities: tuple[str, ...] = Field(
        (), description="pictures for the IP-Adapter, one a variant: all views of an instant show the same"
    )
    shared_noise: float = Field(
        0.5, ge=0, le=1, description="share of the first noise that the views of an instant have in common (not with strength)"
    )
    device: str = Field("cpu", description="where to generate: cpu, cuda, cuda:1, ...")
    every: int = Field(30, ge=1, description="one in so many of the instants with accepted skeletons is generated")
    variants: int = Field(1, ge=1, description="images per captured image")
    size_px: int | None = Field(
        None, ge=32, multiple_of=8, description="side of a generated image, in px; null: what the model was trained at"
    )
    margin: float = Field(0.2, ge=0, description="space around the people, as a share of their extent")
    min_joints: int = Field(8, ge=1, description="people with fewer joints in a camera's image are left out of it")
    scheduler: Literal["ddim", "ddpm", "dpm++", "euler", "flow"] = Field(
        "ddim", description="sampler; ddpm wants hundreds of steps, flow (and dpm++) is for models trained as rectified flows"
    )
    steps: int = Field(20, ge=1, description="sampling steps of an image; more are slower")
    guidance_scale: float = Field(2.0, ge=0, description="classifier-free guidance scale")
    detector_guidance: float = Field(
        0.3,
        ge=0,
        description="how strongly a detector draws people to their labels at every step, by the noise that is left (ddim, "
        "euler and flow; 0: not at all); the image is decoded and differentiated each time, which takes time, and memory with "
        "large models",
    )
    guidance_weights: str = Field("studio", description="the detector that guides; another one than checks the labels")
    guidance_size_px: int = Field(
        320, ge=64, description="side at which the guiding detector looks at an image, in px; larger is more exact and slower"
    )
    prompts: tuple[str, ...] = Field(
        ("{people} in a {top} top and {bottoms} trousers, {light}, {place}",),
        min_length=1,
        description="prompt templates; {people} says how many, every other field is drawn from attributes",
    )
    attributes: dict[str, tuple[str, ...]] = Field(
        {
            "top": ("blue", "red", "green", "purple", "pink", "brown", "black", "grey", "white"),
            "bottoms": ("blue", "red", "green", "purple", "brown", "black", "grey"),
            "light": ("dim light", "even light", "bright light"),
            "place": ("grey background", "black background", "white background"),
        },
        description="words for the fields of the prompt templates; these are what the shipped generator was taught",
    )
    negative_prompt: str = Field("", description="what the image should not show")
    seed: int = Field(0, ge=0, description="base of every seed")
    weights: str = Field("default", description="detector that checks the labels: shipped weights, or a .safetensors file")
    check_size_px: int | None = Field(
        None, ge=64, description="side at which a generated image is given to the detector, in px; null: as the weights say"
    )
    check_min_score: float = Field(0.1, ge=0, le=1, description="joints below this score count as not found again")
    min_oks: float = Field(0.4, ge=0, le=1, description="least OKS between re-detected people and their labels")
    swap_margin: float = Field(
        0.05, ge=0, le=1, description="a person counts as swapped when its mirrored OKS is so much higher"
    )
    max_drift: float = Field(0.125, gt=0, description="a joint found again may lie off by this share of the person's extent")
    max_background_change: float = Field(
        2.0, ge=0, description="mean change of levels (0..255) outside the people, where the background is kept"
    )
    max_mpjpe_mm: float = Field(
        100.0,
        gt=0,
        description="a person's accepted views, found again and triangulated, may be off by this; odd views are rejected",
    )
    drift_min_score: float = Field(
        0.75, ge=0, le=1, description="only joints found again with this score count as drifted; others are hidden, and guessed"
    )
