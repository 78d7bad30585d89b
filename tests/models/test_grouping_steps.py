"""The steps of grouping, each against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.grouping import LOT, NEARNESS, GroupConfig, People, assemble, group, pair_gains
from models.grouping import _distinct as distinct
from models.grouping import _first_of_each as first_of_each

Array = NDArray[Any]


def people(pixel: list[list[int]], score: list[list[float]] | None = None) -> People:
    """People with those joints, their scores (1 each), and tags 0, 1, ..."""
    there = np.array(pixel)
    values = np.where(there >= 0, 1.0, 0.0) if score is None else np.array(score)
    count = np.maximum((there >= 0).sum(1), 1)
    return People(there, values, (np.arange(len(there)) * count)[:, None].astype(float), count)


def test_a_pair_gains_its_value_times_a_closeness_that_falls_to_nothing() -> None:
    config = GroupConfig(tag=2.0, tolerance=0.5)
    distance = np.array([[0.0, 0.4, 0.5, 1.25, 1.999, 2.0, 5.0]] * 2)
    gains = pair_gains(distance, np.array([1.0, 0.3]), config)
    near = 1 - NEARNESS * np.array([0, 0.2, 0.25, 0.625]) ** 2
    expected = [*near[:3], near[3] - (1 - NEARNESS) * 0.5, 0.0, 0.0, 0.0]
    np.testing.assert_allclose(gains[0, :4], expected[:4], rtol=2 * LOT)
    assert 0 <= gains[0, 4] < 1e-3 and (gains[:, 5:] == 0).all()
    np.testing.assert_allclose(gains[1], 0.3 * gains[0], rtol=2 * LOT)
    assert (np.diff(gains[:, :6]) < 0).all()


def test_halfway_between_the_tolerance_and_the_tag_distance_half_is_gained() -> None:
    np.testing.assert_allclose(pair_gains(np.array([[0.75]]), np.ones(1), GroupConfig()), [[0.5]], atol=NEARNESS)


def test_lots_decide_between_equal_pairs_and_nothing_else() -> None:
    gains = pair_gains(np.zeros((3, 4)), np.ones(3), GroupConfig())
    assert len(np.unique(gains)) == 12 and (gains <= 1).all() and (gains >= 1 - LOT).all()
    assert (gains < 1 - LOT / 100).any()


def test_a_tolerance_as_wide_as_the_tag_distance_leaves_only_near_and_far() -> None:
    gains = pair_gains(np.array([[0.0, 0.499, 0.5]]), np.ones(1), GroupConfig(tag=0.5, tolerance=0.5))
    np.testing.assert_allclose(gains, [[1.0, 1.0, 0.0]], atol=2 * NEARNESS)
    assert gains[0, 2] == 0


def test_of_tags_within_the_tolerance_the_first_is_kept() -> None:
    tag = np.array([[0.0], [0.4], [0.8], [0.5], [1.3]])
    # The second is near the first; the third only near the second, which is gone; the fourth is near the third, not the first.
    assert first_of_each(tag, 0.5).tolist() == [True, False, True, False, True]


def test_somebody_who_shares_more_than_half_of_his_joints_with_a_better_one_is_gone() -> None:
    # Width 10: pixels 0 and 1 are 1 px apart, 0 and 11 a diagonal, 0 and 2 as well as 0 and 12 too far.
    first = [0, 50, 55, 95]
    same, half, far, other = [11, 60, 54, 5], [1, 51, 15, 5], [12, 52, 57, 75], [50, 0, 95, 55]
    assert distinct(people([first, same]), 10, 0.5).pixel.tolist() == [first]
    for kept in (half, far, other):
        assert distinct(people([first, kept]), 10, 0.5).pixel.tolist() == [first, kept]
    assert distinct(people([first, half]), 10, 0.49).pixel.tolist() == [first]
    assert distinct(people([first, same]), 10, 0.75).pixel.tolist() == [first, same]


def test_joints_that_are_missing_are_shared_with_nobody() -> None:
    first, lacking, same = [0, 50, -1, -1], [30, 85, -1, -1], [0, -1, -1, -1]
    assert distinct(people([first, lacking, same]), 10, 0.5).pixel.tolist() == [first, lacking]


def test_who_is_gone_takes_nobody_along() -> None:
    first, second, third = [0, 50, 55], [1, 51, 99], [33, 52, 98]  # the third shares two with the second, who shares two
    assert distinct(people([first, second, third]), 10, 0.5).pixel.tolist() == [first, third]


def test_the_best_come_first_and_equal_ones_by_their_pixels() -> None:
    them = people([[7, 3], [5, 9], [5, 2], [1, 1]], [[0.5, 0.5], [0.4, 0.6], [0.6, 0.4], [0.9, 0.3]])
    assert them.best(4).pixel.tolist() == [[1, 1], [5, 2], [5, 9], [7, 3]]
    best = them.best(2)
    assert best.pixel.tolist() == [[1, 1], [5, 2]] and best.score.tolist() == [[0.9, 0.3], [0.6, 0.4]]
    assert best.tag.tolist() == [[3.0], [2.0]] and best.count.tolist() == [2, 2]


def test_people_begin_with_nothing_and_take_what_they_are_given() -> None:
    them = People.nobody(3, 2)
    assert them.begin(1).tolist() == [0]
    rows = them.begin(2)
    assert rows.tolist() == [1, 2] and them.pixel.tolist() == [[-1] * 3] * 3 and them.score.tolist() == [[0.0] * 3] * 3
    them.give(rows, 1, np.array([4, 5]), np.array([0.3, 0.2]), np.array([[1.0, 2.0], [3.0, 4.0]]))
    them.give(rows[:1], 2, np.array([6]), np.array([0.1]), np.array([[2.0, 4.0]]))
    assert them.pixel.tolist() == [[-1] * 3, [-1, 4, 6], [-1, 5, -1]]
    assert them.score.tolist() == [[0.0] * 3, [0.0, 0.3, 0.1], [0.0, 0.2, 0.0]]
    assert them.count.tolist() == [0, 2, 1] and them.take(rows).tag.tolist() == [[1.5, 3.0], [3.0, 4.0]]
    assert [a.dtype for a in (them.pixel, them.score, them.count)] == [np.int64, np.float64, np.int64]


def maps(*peaks: tuple[int, int, float, float], joints: int = 2, background: float = 0.0) -> tuple[Array, Array]:
    """(J, 8, 10) maps with (joint, flat pixel, value, tag) and else `background` and tag 0."""
    heatmaps, tags = np.full((joints, 8, 10), background), np.zeros((joints, 8, 10))
    for joint, pixel, value, tag in peaks:
        heatmaps[joint].flat[pixel], tags[joint].flat[pixel] = value, tag
    return heatmaps, tags


def test_candidates_are_capped_best_first_and_by_pixel_where_equal() -> None:
    peaks = [(np.array([70, 30, 10, 50]), np.array([0.4, 0.9, 0.4, 0.5]))]
    tags = np.arange(80.0).reshape(1, 8, 10, 1)
    for count, kept in ((1, [30]), (2, [30, 50]), (3, [30, 50, 10]), (9, [30, 50, 10, 70])):
        assert assemble(peaks, tags, GroupConfig(candidates=count)).pixel[:, 0].tolist() == kept


def test_the_order_in_which_joints_are_taken_is_the_configs_or_their_own() -> None:
    # The first joint taken begins the person; a tag 0.9 off that joint's still belongs, one 0.9 off the mean of two does not.
    peaks = [(np.array([n]), np.array([0.5])) for n in (11, 22, 33)]
    tags = np.zeros((3, 8, 10, 1))
    tags[1, 2, 2], tags[2, 3, 3] = 0.9, 1.4
    for order, pixels in (
        (None, [[11, 22, 33]]),
        ((0, 2, 1), [[11, -1, -1], [-1, 22, 33]]),
        ((1, 2, 0), [[-1, 22, 33], [11, -1, -1]]),
    ):
        assert sorted(assemble(peaks, tags, GroupConfig(order=order)).pixel.tolist()) == sorted(pixels)


def test_seventeen_joints_are_taken_trunk_first() -> None:
    # The shoulder begins; the hip's tag is near enough, and the elbow's only to the mean of both.
    tags, peaks = np.zeros((17, 8, 10, 1)), [(np.empty(0, np.int64), np.empty(0))] * 17
    for joint, tag in ((5, 0.0), (11, 0.9), (7, 1.4)):
        tags[joint], peaks[joint] = tag, (np.array([joint]), np.array([0.5]))
    pixel = assemble(peaks, tags, GroupConfig()).pixel
    assert pixel[:, [5, 11, 7]].tolist() == [[5, 11, 7]]


def test_a_tag_at_the_very_limit_is_somebody_elses() -> None:
    at_tag = maps((0, 11, 0.9, 0.0), (1, 33, 0.8, 1.0))  # as far as `tag`: not matched
    at_tolerance = maps((0, 11, 0.9, 0.0), (1, 33, 0.8, 0.0), (1, 66, 0.7, 0.5))  # as far as `tolerance`: no duplicate
    for heatmaps, tags in (at_tag, at_tolerance):
        assert len(group(heatmaps, tags, GroupConfig(fill=0))[0]) == 2


def test_too_few_candidates_make_nobody() -> None:
    heatmaps, tags = maps((0, 11, 0.9, 0.0), (1, 33, 0.8, 0.0), (0, 66, 0.7, 5.0))
    assert [len(group(heatmaps, tags, GroupConfig(min_joints=n, fill=0))[0]) for n in (1, 2, 3)] == [2, 1, 0]


def test_a_missing_joint_is_the_highest_value_less_the_tag_distance_beyond_the_tolerance() -> None:
    high, low, middle = 3 / 32, 2 / 32, 2.5 / 32
    heatmaps, tags = maps((0, 11, 0.9, 3.0), (1, 0, high, 3.9), (1, 44, low, 3.4), (1, 79, middle, 4.6))
    # Less 0.4, 0 and 1.1: the lowest value wins.
    xy, score, _ = group(heatmaps, tags)
    np.testing.assert_allclose(xy, [[[1, 1], [4, 4]]])
    np.testing.assert_allclose(score, [[0.9, low]])
    # With a wide tolerance the highest value counts alone; what is not above `fill` is not read, with 0 nothing is.
    for config in (GroupConfig(tolerance=0.95), GroupConfig(fill=low)):
        np.testing.assert_allclose(group(heatmaps, tags, config)[1], [[0.9, high]])
    for fill in (high, 0.0):
        np.testing.assert_allclose(group(heatmaps, tags, GroupConfig(fill=fill))[1], [[0.9, 0.0]])


def test_only_the_missing_joints_of_those_who_miss_them_are_read_from_the_map() -> None:
    heatmaps, tags = maps((0, 11, 0.9, 0.0), (1, 33, 0.8, 0.0), (0, 66, 0.7, 5.0), (1, 68, 0.05, 5.0))
    xy, score, tag = group(heatmaps, tags)
    np.testing.assert_allclose(xy, [[[1, 1], [3, 3]], [[6, 6], [8, 6]]])
    np.testing.assert_allclose(score, [[0.9, 0.8], [0.7, 0.05]], rtol=1e-6)
    np.testing.assert_allclose(tag, [[0.0], [5.0]])
    assert [a.dtype for a in (xy, score, tag)] == [np.float32] * 3


def test_people_are_sorted_once_more_after_filling() -> None:
    # 0.5 and a filled 0.09 are better than 0.55 alone, which finds nothing near its tag.
    heatmaps, tags = maps((0, 11, 0.5, 0.0), (1, 33, 0.09, 0.0), (0, 66, 0.55, 5.0))
    xy, score, _ = group(heatmaps, tags, GroupConfig(same=1.0))
    assert (np.diff(score.mean(1)) <= 0).all()
    np.testing.assert_allclose(score[0, 0], 0.55)  # also the other is filled, with the only value there is


def test_a_duplicate_begins_nobody_and_a_far_candidate_does() -> None:
    heatmaps, tags = maps((0, 11, 0.9, 0.0), (0, 44, 0.8, 0.49), (0, 77, 0.7, 0.51), joints=1)
    _, score, tag = group(heatmaps, tags, GroupConfig(fill=0))
    np.testing.assert_allclose(score[:, 0], [0.9, 0.7])
    np.testing.assert_allclose(tag[:, 0], [0.0, 0.51])


def test_whole_numbers_and_maps_that_are_no_numbers_are_read() -> None:
    heatmaps, tags = maps((0, 11, 1, 0), (1, 33, 1, 0))
    xy, _, _ = group(heatmaps.astype(int), tags.astype(int))
    np.testing.assert_array_equal(xy, [[[1, 1], [3, 3]]])


def test_the_cap_counts_what_was_found_and_not_what_was_filled() -> None:
    # The second person's filled joint, 0.09 beside 0.03 of the first, would put it first.
    heatmaps, tags = maps((0, 11, 0.5, 0.0), (1, 13, 0.03, 0.0), (0, 66, 0.45, 5.0), (1, 68, 0.09, 5.0))
    assert group(heatmaps, tags)[1][0, 0] == np.float32(0.45)
    _, score, _ = group(heatmaps, tags, GroupConfig(max_people=1))
    np.testing.assert_allclose(score[0, 0], 0.5)


def test_a_joint_found_in_the_first_pixel_is_not_read_again() -> None:
    # Found, with a tag far from the mean of the three: its neighbour, no peak, would win if the joint were missing.
    heatmaps, tags = maps((0, 11, 0.9, 0.0), (1, 33, 0.9, 0.0), (2, 0, 0.42, 0.99), (2, 1, 0.4, 0.0), joints=3)
    np.testing.assert_allclose(group(heatmaps, tags)[1], [[0.9, 0.9, 0.42]])


def test_tags_with_an_axis_too_many_are_refused() -> None:
    for heatmaps, tags in ((np.zeros((3, 8, 8)), np.zeros((3, 8, 8, 1, 1))), (np.zeros((8, 8)), np.zeros((8, 8)))):
        with pytest.raises(ValueError, match="^group: expected heatmaps"):
            group(heatmaps, tags)


def test_values_that_are_no_numbers_count_as_nothing_beside_a_peak() -> None:
    heatmaps, tags = maps((0, 44, 0.9, 0.0), (0, 34, np.nan, 0.0), (0, 54, 0.3, 0.0), joints=1)
    expected = group(np.nan_to_num(heatmaps), tags)
    np.testing.assert_array_equal(group(heatmaps, tags)[0], expected[0])
    assert expected[0][0, 0, 1] > 4.1
