"""Peaks of small maps worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from models.peaks import find_peaks, refine_peaks, tags_at


def test_a_peak_is_no_lower_than_its_eight_neighbours_and_above_the_threshold() -> None:
    first = np.array(
        [
            [0.5, 0.1, 0.0, 0.0],
            [0.1, 0.1, 0.0, 0.3],
            [0.0, 0.0, 0.0, 0.4],
            [0.2, 0.2, 0.0, 0.0],
        ],
        np.float32,
    )
    second = np.zeros((4, 4), np.float32)
    second[2, 1] = 0.9
    second[1, 2] = 0.8  # diagonal to a higher one
    (pixel, score), (other, other_score) = find_peaks(np.stack([first, second]), 0.1)
    assert pixel.tolist() == [0, 11, 12, 13]  # two equal neighbours are two peaks; the corner and the edge count
    np.testing.assert_array_equal(score, first.reshape(-1)[pixel])
    assert other.tolist() == [9] and other_score.tolist() == pytest.approx([0.9])
    assert find_peaks(first[None], 0.5)[0][0].tolist() == [], "a value at the threshold is not above it"
    assert find_peaks(first[None], 0.4)[0][0].tolist() == [0]


@pytest.mark.parametrize("higher", [(0, 2), (4, 2), (2, 0), (2, 4), (0, 0), (4, 4)])
def test_a_higher_value_two_pixels_away_takes_nothing_from_a_peak(higher: tuple[int, int]) -> None:
    heatmap = np.zeros((1, 5, 5), np.float32)
    heatmap[0, 2, 2], heatmap[0][higher] = 0.5, 0.9
    assert sorted(find_peaks(heatmap, 0.1)[0][1].tolist()) == pytest.approx([0.5, 0.9])


def test_tags_are_read_at_the_row_and_column_of_their_own_joint() -> None:
    tags = np.arange(2 * 3 * 5 * 2, dtype=np.float32).reshape(2, 3, 5, 2)
    one, two = tags_at(tags, [np.array([7, 0, 14]), np.array([4])])
    np.testing.assert_array_equal(one, tags[0].reshape(15, 2)[[7, 0, 14]])
    np.testing.assert_array_equal(two, tags[1].reshape(15, 2)[[4]])
    assert one.dtype == np.float64
    none, all_of_it = tags_at(tags, [np.empty(0, np.int64), np.array([1, 2])])
    assert none.shape == (0, 2) and all_of_it.shape == (2, 2)


def test_tags_that_are_no_numbers_count_as_nothing() -> None:
    tags = np.zeros((1, 2, 2, 1), np.float32)
    tags[0, 0, 1], tags[0, 1, 1] = np.nan, 3.0
    np.testing.assert_array_equal(tags_at(tags, [np.array([1, 3])])[0], [[0.0], [3.0]])


def parabola(centre_xy: tuple[float, float], shape_hw: tuple[int, int]) -> np.ndarray:
    """A Gaussian, whose logarithm is a parabola along each axis."""
    y, x = np.mgrid[: shape_hw[0], : shape_hw[1]]
    return np.exp(-((x - centre_xy[0]) ** 2 + (y - centre_xy[1]) ** 2) / 4.0)


@pytest.mark.parametrize("centre_xy", [(4.3, 2.0), (4.0, 2.4), (3.6, 1.7), (1.0, 1.0), (5.2, 3.2)])
def test_a_gaussian_comes_back_to_its_centre_on_both_axes(centre_xy: tuple[float, float]) -> None:
    heatmap = parabola(centre_xy, (6, 9))
    pixel = round(centre_xy[1]) * 9 + round(centre_xy[0])
    found = refine_peaks(heatmap[None], np.array([[pixel]]))
    np.testing.assert_allclose(found[0, 0], centre_xy, atol=1e-5)
    assert found.dtype == np.float32


def test_each_joint_is_refined_in_its_own_map_and_a_missing_one_is_nowhere() -> None:
    heatmaps = np.stack([parabola((4.3, 2.2), (6, 9)), parabola((2.8, 3.1), (6, 9))])
    found = refine_peaks(heatmaps, np.array([[22, 30], [-1, 30], [22, -1]]))
    one, two, gone = (4.3, 2.2), (2.8, 3.1), (np.nan, np.nan)
    np.testing.assert_allclose(found, [[one, two], [gone, two], [one, gone]], atol=1e-5)


def test_a_peak_at_the_edge_stays_on_it_or_moves_half_a_pixel_at_most() -> None:
    heatmaps = np.full((4, 5, 5), 0.1)
    corners = np.array([[0, 4, 20, 24]])
    for joint, pixel in enumerate(corners[0]):
        heatmaps[joint].flat[pixel] = 0.9
    # Beyond the edge stands the peak itself once more: the parabola's top is half a pixel out.
    np.testing.assert_allclose(refine_peaks(heatmaps, corners)[0], [[-0.5, -0.5], [4.5, -0.5], [-0.5, 4.5], [4.5, 4.5]])


def test_what_is_no_top_is_not_moved() -> None:
    heatmap = np.full((1, 3, 7), 0.5)
    heatmap[0, 1] = [0.1, 0.2, 0.4, 0.6, 0.6, 0.6, 0.9]
    at = refine_peaks(heatmap, np.array([[7 + 2], [7 + 4], [7 + 5]]))[:, 0]
    # On a slope, on a plateau, and beside a higher one: no top along x; along y the first is a dip.
    np.testing.assert_array_equal(at, [[2, 1], [4, 1], [5, 1]])


def test_nothing_beside_a_peak_counts_as_a_millionth() -> None:
    heatmap = np.zeros((1, 3, 3))
    heatmap[0, 1] = [0.0, 1.0, 1e-3]
    before, after = np.log(1e-6), np.log(1e-3)
    found = refine_peaks(heatmap, np.array([[4]]))
    np.testing.assert_allclose(found[0, 0], [1 + (before - after) / (2 * (before + after)), 1.0], atol=1e-6)
