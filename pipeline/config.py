"""What can be set: one section per stage, with presets and `--set stage.key=value`."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from importlib import resources
from typing import Any, Literal, TypeVar

import yaml
from pydantic import Field, PositiveFloat, ValidationError

from pipeline.config_augment import AugmentConfig
from pipeline.config_section import Section
from pipeline.errors import InputError, told
from pipeline.plain_text import yaml_value
from pipeline.session import Session

SectionT = TypeVar("SectionT", bound=Section)


class IngestConfig(Section):
    """Reading sources onto one clock."""

    match: Literal["time", "number"] = Field(
        "time",
        description="frames of one instant are those nearest in time, or, of cameras with one trigger, those of one number",
    )
    max_spread_ms: float = Field(20.0, gt=0, description="largest time between frames of one instant, in ms")
    max_length_difference: float = Field(
        0.02, ge=0, description="refuse cameras whose durations differ by more than this share"
    )
    max_rate_difference: float = Field(
        0.02, ge=0, description="refuse cameras whose frame rates differ by more than this share"
    )


class CalibrateConfig(Section):
    """Solving or importing the rig."""

    lens: Literal["auto", "brown", "rational", "fisheye"] = Field(
        "auto", description="lens model to solve for; auto: the simplest that explains the views, by cross-validation"
    )
    fix_k3: bool = Field(True, description="hold the third radial coefficient of a brown lens at zero (not for auto)")
    intrinsics: Literal["solve", "import"] = Field("solve", description="solve from board images, or keep the imported rig's")
    max_rms_px: float = Field(1.5, gt=0, description="a rig with a larger reprojection RMS is refused")
    distances_m: dict[str, float] = Field(
        {},
        description="measured distances between cameras in m, as {left+right: 0.12}; a rig that differs is refused",
    )
    floor_instant: int | None = Field(None, ge=0, description="instant of the board clip at which the board lies on the floor")
    max_instants: int = Field(120, ge=2, description="instants of the board clip to search for corners, evenly spread")


class RectifyConfig(Section):
    """Rectifying the stereo pair."""

    max_row_error_px: float = Field(1.0, gt=0, description="corners of a rectified pair may differ by this much in rows")
    num_disparities: int = Field(128, gt=0, multiple_of=16, description="search range of the disparity, in px")
    depth_every: int = Field(30, gt=0, description="one point cloud every so many instants")
    max_depth_m: float = Field(20.0, gt=0, description="points further than this from the left camera are left out, in m")
    voxel_m: float = Field(0.01, gt=0, description="voxel size that point clouds are thinned to, in m")


class DetectConfig(Section):
    """Finding people and grouping their joints."""

    weights: str = Field("default", description="name of shipped weights, or a .safetensors file")
    backend: Literal["auto", "torch", "onnxruntime", "openvino"] = Field(
        "auto", description="what runs the network; auto: torch on a GPU, else the fastest compiled one that works"
    )
    size_px: int | None = Field(
        None, ge=64, description="long side of the image given to the network, in px; null: as the weights say"
    )
    scales: tuple[PositiveFloat, ...] | None = Field(
        None,
        min_length=1,
        description="sizes of the image as shares of size_px whose maps are averaged; null: as the weights say",
    )
    flip: bool = Field(True, description="average with the mirrored image")
    turned: bool = Field(
        False, description="look in four quarter turns, for people who lie or stand on their heads; 4 times the cost"
    )
    min_score: float = Field(0.1, ge=0, le=1, description="joints below this score count as missing")
    min_joints: int = Field(5, ge=1, description="people with fewer joints are dropped")
    max_people: int = Field(10, ge=1, description="most people per image, best first")
    batch: int = Field(8, ge=1, description="frames per forward pass")
    chunk_frames: int = Field(
        256, ge=1, description="frames that are a result of their own until all are done: what a killed run loses at most"
    )
    max_frame_difference: int = Field(
        1, ge=0, description="imported detections may tell of this many frames more or fewer than the clip has"
    )


class ReconstructConfig(Section):
    """Matching people across views and triangulating them."""

    match_share: float = Field(
        0.03,
        gt=0,
        lt=1,
        description="people match when their joints reproject this close, as a share of the images' longer side",
    )
    threshold_share: float = Field(
        0.0125, gt=0, lt=1, description="a view further off than this is left out of a joint, as a share of the longer side"
    )
    min_views: int = Field(2, ge=2, description="views needed for a joint")
    min_joints: int = Field(5, ge=1, description="joints needed for a skeleton")
    max_step_m: float = Field(0.5, gt=0, description="a person moves at most this far between two instants, in m")
    max_gap_ms: float = Field(500.0, ge=0, description="a person keeps the identity through a gap of up to this, in ms")
    smooth: Literal["kalman", "butterworth", "one_euro", "spline", "none"] = Field(
        "kalman", description="filter of people's tracks; what each instant alone gives is kept beside it"
    )
    cutoff_hz: float = Field(6.0, gt=0, description="cut-off of the Butterworth filter, in Hz")
    fill_ms: float = Field(200.0, ge=0, le=2000, description="gaps in a track up to this are filled, in ms")
    limb_sigma_m: float = Field(0.01, ge=0, description="limbs keep their lengths to about this, in m; 0: they may do anything")
    prior: str = Field(
        "",
        description="pose prior that weighs joints and places missing ones (n_views 0): `prior` or .safetensors; empty: none",
    )
    bump_share: float = Field(
        0.003, gt=0, lt=1, description="a bump that shifts a camera's image less is not told, as a share of the longer side"
    )


class AuditConfig(Section):
    """Gates that a skeleton must pass."""

    max_error_px: float = Field(15.0, gt=0, description="mean reprojection error of a skeleton, in px")
    max_limb_deviation: float = Field(0.35, gt=0, description="limb length may differ from the person's median by this share")
    limb_range_m: tuple[float, float] = Field((0.05, 0.8), description="plausible limb lengths, in m")
    max_knee_back_deg: float = Field(25.0, gt=0, description="knees may bend backwards by at most this, in degrees")
    min_hinge_deg: float = Field(20.0, ge=0, description="inner angle that knees and elbows fold to at least, in degrees")
    min_joints: int = Field(8, ge=1, description="joints a skeleton needs")
    prior: str = Field("prior", description="shipped pose prior, or a .safetensors file; empty: poses are not judged by it")
    false_alarm: float = Field(
        0.01, ge=0, le=0.05, description="poses as odd as this share of the clip's own, or odder, are rejected; 0: none"
    )
    max_float_m: float = Field(
        0.25, gt=0, description="joints may stand this far in front of the surface that a stereo pair sees there, in m"
    )
    min_views: float = Field(
        2.5, ge=2, description="views a skeleton's joints need on average; where two cameras film, two are enough"
    )


class ExportConfig(Section):
    """Writing the dataset."""

    name: str = Field("dataset", min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$", description="folder below export/")
    every: int = Field(1, ge=1, description="one instant in so many is exported")
    image_long_side_px: int = Field(640, ge=32, description="captured images are resized to at most this, in px")
    jpeg_quality: int = Field(92, ge=1, le=100, description="quality of captured images")
    rows_per_shard: int = Field(1000, ge=1, description="rows per Parquet file")


class ReviewConfig(Section):
    """The decision of a person before anything is released."""

    required: bool = Field(True, description="release only what a person approved")
    wait_hours: float = Field(72.0, gt=0, description="a run waits this long for the decision")


class ReleaseConfig(Section):
    """Versioned datasets of one or several sessions."""

    validation: float = Field(0.1, ge=0, lt=1, description="share of the rows for the split `validation`")
    test: float = Field(0.1, ge=0, lt=1, description="share of the rows for the split `test`")
    generated_in: Literal["train", "all"] = Field("train", description="splits that hold generated images as well")
    seed: int = Field(0, ge=0, description="which people go where, among equals")
    licence: str = Field("", description="terms of the recordings, as the card is to state them")
    rows_per_shard: int = Field(5000, ge=1, description="rows per Parquet file")


class Config(Section):
    """All settings of a run."""

    ingest: IngestConfig = IngestConfig()
    calibrate: CalibrateConfig = CalibrateConfig()
    rectify: RectifyConfig = RectifyConfig()
    detect: DetectConfig = DetectConfig()
    reconstruct: ReconstructConfig = ReconstructConfig()
    audit: AuditConfig = AuditConfig()
    augment: AugmentConfig = AugmentConfig()
    export: ExportConfig = ExportConfig()
    review: ReviewConfig = ReviewConfig()
    release: ReleaseConfig = ReleaseConfig()


def load_config(preset: str = "default", layers: Sequence[dict[str, Any]] = (), settings: Sequence[str] = ()) -> Config:
    """A preset, then layers of nested dicts, then `stage.key=value` settings. Raises InputError naming the nearest key."""
    merged = load_preset(preset)
    for layer in (*layers, *(_parse_setting(text) for text in settings)):
        merged = _merge(merged, layer)
    return parse_config(merged)


def session_config(session: Session, preset: str = "", settings: Sequence[str] = ()) -> Config:
    """The settings of a session: its preset or the one given instead, its own settings over it, then `stage.key=value`."""
    return load_config(preset or session.preset, [session.config], settings)


def parse_config(values: dict[str, Any]) -> Config:
    """Validate nested values. Raises InputError with the key, what was expected, or the nearest known key."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise InputError(told([_explain(detail) for detail in error.errors()])) from error


def parse_section(kind: type[SectionT], values: dict[str, Any]) -> SectionT:
    """Validate the values of one section, e.g. of a command line. Raises InputError with the key and what was expected."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = [f"{detail['loc'][0]}: {detail['msg']:.300}, got {detail['input']!r:.200}" for detail in error.errors()]
        raise InputError(told(problems)) from error


def preset_names() -> list[str]:
    """The presets that ship with posemill."""
    folder = resources.files("pipeline") / "presets"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_preset(name: str) -> dict[str, Any]:
    """The values of a preset. Raises InputError listing the known ones."""
    if name not in preset_names():
        raise InputError(f"preset: expected one of {', '.join(preset_names())}, got {name!r}")
    return yaml.safe_load((resources.files("pipeline") / "presets" / f"{name}.yaml").read_text()) or {}


def known_keys() -> list[str]:
    """Every `stage.key` that can be set."""
    sections = {name: field.annotation for name, field in Config.model_fields.items()}
    return [f"{name}.{key}" for name, section in sections.items() for key in section.model_fields]  # type: ignore[union-attr]


def _parse_setting(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or key.count(".") != 1:
        raise InputError(f"--set: expected stage.key=value, got {text!r:.200}")
    stage, name = key.split(".")
    return {stage: {name: yaml_value(value, f"--set {key:.200}")}}


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _explain(detail: Any) -> str:
    key = ".".join(str(part) for part in detail["loc"])
    if detail["type"] != "extra_forbidden":
        return f"config key {key}: {detail['msg']:.300}, got {detail['input']!r:.200}"
    known = known_keys() if "." in key else list(Config.model_fields)
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
    return f"config key {key} is not known; the nearest known key is {nearest[0]}"
