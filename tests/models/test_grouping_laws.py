"""What grouping must keep whatever the maps: neither the order of candidates nor the solver shows, for any tag dimension."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from munkres import Munkres
from numpy.typing import NDArray

from models import grouping
from models.grouping import GroupConfig, assemble, group
from models.peaks import find_peaks

Array = NDArray[Any]
COARSE = 1 / 8  # steps of values and tags: what 8-bit networks leave, full of exact ties


def maps(seed: int, dims: int, step: float, joints: int = 5, side: int = 20) -> tuple[Array, Array]:
    """Noise with many peaks, and tags in which several people are near each other; both in steps where asked."""
    rng = np.random.default_rng(seed)
    heatmaps = rng.random((joints, side, side)).astype(np.float32)
    tags = rng.integers(0, 4, (joints, side, side, 1)) + rng.normal(0, 0.4, (joints, side, side, dims))
    return np.round(heatmaps / step) * step, (np.round(tags / step) * step).astype(np.float32)


def by_munkres(gains: Array, maximize: bool) -> tuple[Array, Array]:
    """The assignment by the Munkres algorithm, which shares no code with scipy's shortest augmenting paths."""
    assert maximize
    pairs = Munkres().compute((-gains).tolist()) if gains.size else []
    return np.array([i for i, _ in pairs], int), np.array([j for _, j in pairs], int)


def assert_same(one: tuple[Array, ...], other: tuple[Array, ...]) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("step", [0.5, COARSE, 1e-6])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_another_solver_finds_the_same_people(dims: int, step: float, monkeypatch: pytest.MonkeyPatch) -> None:
    scenes = [maps(seed, dims, step) for seed in range(6)]
    expected = [group(*scene) for scene in scenes]
    monkeypatch.setattr(grouping, "linear_sum_assignment", by_munkres)
    for scene, people in zip(scenes, expected, strict=True):
        assert len(people[0]) > 3
        assert_same(group(*scene), people)


@pytest.mark.parametrize("step", [0.5, COARSE, 1e-6])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_order_of_candidates_does_not_matter(dims: int, step: float) -> None:
    heatmaps, tags = maps(7, dims, step)
    config = GroupConfig()
    peaks = find_peaks(heatmaps, config.detection)
    people = assemble(peaks, tags, config)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        order = [rng.permutation(len(pixel)) for pixel, _ in peaks]
        again = assemble([(pixel[o], score[o]) for (pixel, score), o in zip(peaks, order, strict=True)], tags, config)
        assert_same((again.pixel, again.score, again.tag), (people.pixel, people.score, people.tag))


def test_planes_and_interleaved_channels_give_the_same_people() -> None:
    heatmaps, tags = maps(2, 2, 1e-6)
    interleaved = np.concatenate([heatmaps[..., None], tags], -1).transpose(1, 2, 3, 0).copy().transpose(3, 0, 1, 2)
    assert interleaved.strides[-3] != tags.strides[-3]
    assert_same(group(interleaved[..., 0], interleaved[..., 1:]), group(heatmaps, tags))


def test_tags_repeated_in_other_dimensions_group_alike_with_scaled_thresholds() -> None:
    heatmaps, tags = maps(3, 1, 1e-6)
    scaled = GroupConfig(tag=3**0.5, tolerance=0.5 * 3**0.5, fill=0)
    assert_same(group(heatmaps, np.repeat(tags, 3, -1), scaled)[:2], group(heatmaps, tags, GroupConfig(fill=0))[:2])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6), dims=st.integers(1, 3), cap=st.integers(1, 6), step=st.sampled_from([COARSE, 1e-6]),
    fill=st.sampled_from([0.0, 0.3]),
)  # fmt: skip
def test_people_are_sorted_capped_and_made_of_the_maps_own_values(
    seed: int, dims: int, cap: int, step: float, fill: float
) -> None:
    heatmaps, tags = maps(seed, dims, step, joints=3, side=12)
    xy, score, tag = group(heatmaps, tags, GroupConfig(max_people=cap, fill=fill))
    assert 1 <= len(xy) <= cap and tag.shape == (len(xy), dims)
    assert (np.diff(score.mean(1)) <= 1e-6).all()
    assert (np.isnan(xy).any(-1) == (score == 0)).all()
    for person, joint in np.argwhere(score > 0):
        x, y = np.round(xy[person, joint]).astype(int)
        around = heatmaps[joint, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]  # half a pixel may round either way
        assert score[person, joint] in around


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), dims=st.integers(1, 3))
def test_no_two_people_share_a_candidate_and_no_new_one_has_a_known_tag(seed: int, dims: int) -> None:
    heatmaps, tags = maps(seed, dims, 1e-6, joints=3, side=12)
    config = GroupConfig(order=(0, 1, 2))
    people = assemble(find_peaks(heatmaps, config.detection), tags, config)
    for column in people.pixel.T:
        assert len(set(column[column >= 0])) == (column >= 0).sum()
    first = assemble(find_peaks(heatmaps[:1], config.detection), tags[:1], GroupConfig())
    apart = np.linalg.norm(first.tag[:, None] - first.tag[None], axis=-1) + 9 * np.eye(len(first.tag))
    assert apart.min() >= config.tolerance


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_values_that_are_no_numbers_do_not_spoil_the_rest(bad: float) -> None:
    heatmaps, tags = np.zeros((3, 16, 16)), np.zeros((3, 16, 16, 1))
    heatmaps[:, 8, 8], heatmaps[:, 2, 2], heatmaps[:, 7, 8] = 0.9, bad, bad
    heatmaps[0, 12, 12], tags[0, 12, 12] = 0.5, np.nan  # a number that is none counts as 0: a duplicate here
    xy, score, _ = group(heatmaps, tags, GroupConfig(fill=0))
    np.testing.assert_array_equal(xy, np.full((1, 3, 2), 8.0))
    np.testing.assert_allclose(score, 0.9)
