"""Joint layouts: names, limbs, mirror pairs and OKS sigmas. The only list of joints in the project."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

# Joints end before the body does: boxes of people are wider than those of their joints by this share on every side.
BOX_MARGIN = 0.1


@dataclass(frozen=True, eq=False)
class Topology:
    """A joint layout of J joints.

    limbs: index pairs to draw and to measure lengths on. mirror: (J,) index of the joint on the other side of the body
    (itself for joints on the midline). sigmas: (J,) per-joint spread of the COCO keypoint similarity, as a share of the
    square root of the person's area.

    Raises ValueError when the lists disagree in length, or when `mirror` is not its own inverse.
    """

    name: str
    joints: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]
    mirror: tuple[int, ...]
    sigmas: NDArray[np.float64]

    def __post_init__(self) -> None:
        count = len(self.joints)
        if len(self.mirror) != count or np.shape(self.sigmas) != (count,):
            raise ValueError(
                f"Topology {self.name}: expected {count} mirror entries and sigmas, "
                f"got {len(self.mirror)} and {np.shape(self.sigmas)}"
            )
        if any(not 0 <= m < count or self.mirror[m] != j for j, m in enumerate(self.mirror)):
            raise ValueError(f"Topology {self.name}: mirror must be its own inverse, got {self.mirror}")
        if any(not 0 <= end < count for limb in self.limbs for end in limb):
            raise ValueError(f"Topology {self.name}: limbs name joints beyond {count - 1}: {self.limbs}")

    def __len__(self) -> int:
        return len(self.joints)

    @cached_property
    def limb_joints(self) -> tuple[int, ...]:
        """Indices of the twelve limb joints (shoulder to wrist, hip to ankle), which every photo set labels."""
        ends = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
        return tuple(j for j, name in enumerate(self.joints) if name.endswith(ends))

    def index(self, joint: str) -> int:
        """Index of a joint by name. Raises ValueError naming the layout and its joints."""
        if joint not in self.joints:
            raise ValueError(f"{self.name} has no joint {joint!r}; it has {', '.join(self.joints)}")
        return self.joints.index(joint)


# Names, order and sigmas of the COCO keypoint challenge (pycocotools, `Params.kpt_oks_sigmas`).
COCO17 = Topology(
    name="coco17",
    joints=(
        "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
        "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
        "right_ankle",
    ),
    limbs=(
        (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10),
        (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
    ),
    mirror=(0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15),
    sigmas=np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89], dtype=np.float64) / 1000,
)  # fmt: skip

TOPOLOGIES = {COCO17.name: COCO17}


def box_xywh_px(xy_px: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The box (left, top, width, height) around joints (J, 2) with a margin; None without joints."""
    seen = xy_px[np.isfinite(xy_px).all(-1)]
    if not len(seen):
        return None
    low, high = seen.min(0), seen.max(0)
    margin = BOX_MARGIN * np.maximum(high - low, 1.0)
    return np.concatenate([low - margin, high - low + 2 * margin])
