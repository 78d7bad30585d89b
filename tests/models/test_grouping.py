import numpy as np
import pytest
from numpy.typing import NDArray

from models.grouping import GroupConfig, group, refine_peaks

SIGMA_PX = 1.3


def people_at_random(count: int, shape_hw: tuple[int, int], joints: int = 17, seed: int = 0) -> NDArray[np.float64]:
    """(N, J, 2) joints of people whose joints of one kind keep 6 px apart, so that every peak is its own."""
    rng = np.random.default_rng(seed)
    xy = np.zeros((count, joints, 2))
    for j in range(joints):
        placed: list[NDArray[np.float64]] = []
        while len(placed) < count:
            point = rng.uniform(3, np.array(shape_hw[::-1]) - 4)
            if all(np.linalg.norm(point - p) > 6 for p in placed):
                placed.append(point)
        xy[:, j] = placed
    return xy


def render(xy: NDArray[np.float64], shape_hw: tuple[int, int], dims: int = 1, noise: float = 0.0) -> tuple[NDArray, NDArray]:
    """Heatmaps (J, H, W) with a Gaussian per joint, and tags (J, H, W, K) two units apart between people."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[: shape_hw[0], : shape_hw[1]]
    squared = (x - xy[..., 0, None, None]) ** 2 + (y - xy[..., 1, None, None]) ** 2
    owner = squared.argmin(0)  # each pixel carries the tag of the nearest person
    each = 2.0 * np.arange(len(xy))[:, None] + np.zeros(dims)
    tags = each[owner] + rng.normal(0, noise, (*owner.shape, dims)) if noise else each[owner]
    strength = np.linspace(0.9, 0.6, len(xy))[:, None, None, None]
    return (strength * np.exp(-squared / (2 * SIGMA_PX**2))).max(0), tags


def matched(found: NDArray, truth: NDArray) -> NDArray:
    """Found people in the order of the truth (each truth takes its nearest)."""
    distance = np.linalg.norm(found[:, None] - truth[None], axis=-1).mean(-1)
    assert len(set(distance.argmin(0))) == len(truth)
    return found[distance.argmin(0)]


@pytest.mark.parametrize(("count", "dims"), [(1, 1), (4, 1), (8, 3)])
def test_rendered_people_decode_to_the_truth(count: int, dims: int) -> None:
    truth = people_at_random(count, (96, 128))
    heatmaps, tags = render(truth, (96, 128), dims, noise=0.1)
    xy, score, tag = group(heatmaps, tags)
    assert xy.shape == (count, 17, 2) and score.shape == (count, 17) and tag.shape == (count, dims)
    # A parabola through the logarithm is exact for a lone Gaussian; neighbours 6 px away shift it by less than 0.1 px.
    assert np.abs(matched(xy, truth) - truth).max() < 0.1
    assert score.min() > 0.5


def test_a_person_is_not_put_together_once_more_from_strays() -> None:
    truth = people_at_random(2, (96, 96))
    heatmaps, tags = render(truth, (96, 96))
    for joint in range(5):  # strays with a tag of their own, whose other joints are read from the map: those of somebody else
        x, y = 5 + 18 * joint, 48
        heatmaps[joint, y, x] = 0.3
        tags[joint, y - 1 : y + 2, x - 1 : x + 2] = 0.7
    assert len(group(heatmaps, tags, GroupConfig(min_joints=4, same=1.0))[0]) == 3
    xy, _, _ = group(heatmaps, tags, GroupConfig(min_joints=4))
    assert xy.shape[0] == 2
    assert np.abs(matched(xy, truth) - truth).max() < 0.1


def test_people_come_best_first_and_the_cap_keeps_the_best() -> None:
    truth = people_at_random(6, (96, 96))
    heatmaps, tags = render(truth, (96, 96))  # strengths fall from the first person to the last
    xy, score, _ = group(heatmaps, tags, GroupConfig(max_people=2))
    assert np.abs(xy - truth[:2]).max() < 0.1
    assert score[0].mean() > score[1].mean()


def test_the_order_of_joints_does_not_matter() -> None:
    truth = people_at_random(4, (80, 80))
    heatmaps, tags = render(truth, (80, 80), noise=0.1)
    order = np.random.default_rng(3).permutation(17)
    xy, score, _ = group(heatmaps, tags)
    again, again_score, _ = group(heatmaps[order], tags[order])
    np.testing.assert_array_equal(again, xy[:, order])
    np.testing.assert_allclose(again_score, score[:, order])


def test_renaming_the_tags_does_not_change_the_people() -> None:
    truth = people_at_random(4, (80, 80))
    heatmaps, tags = render(truth, (80, 80), noise=0.1)
    np.testing.assert_array_equal(group(heatmaps, tags)[0], group(heatmaps, 40.0 - tags)[0])


def test_equal_peaks_give_the_same_people_every_time() -> None:
    heatmaps, tags = np.zeros((3, 20, 20)), np.zeros((3, 20, 20, 1))
    heatmaps[:, [3, 3, 15], [3, 15, 9]] = 0.5  # three equal candidates per joint
    tags[:, 15, 9] = 2.0  # one of them with another tag
    first = group(heatmaps, tags, GroupConfig(fill=0))
    for _ in range(3):
        for a, b in zip(first, group(heatmaps.copy(), tags.copy(), GroupConfig(fill=0)), strict=True):
            np.testing.assert_array_equal(a, b)
    assert len(first[0]) == 2


def test_a_second_peak_with_the_tag_of_a_person_is_a_duplicate_and_the_higher_one_wins() -> None:
    heatmaps, tags = np.zeros((3, 20, 20)), np.full((3, 20, 20, 1), 1.0)
    heatmaps[:, 5, 5], heatmaps[1, 15, 15] = 0.6, 0.4
    tags[1, 5, 5] = 1.2  # the higher peak has the farther tag, within the tolerance
    xy, score, _ = group(heatmaps, tags)
    np.testing.assert_array_equal(xy, np.full((1, 3, 2), 5.0))
    np.testing.assert_allclose(score, 0.6)


def test_an_empty_map_holds_nobody() -> None:
    xy, score, tag = group(np.zeros((17, 16, 16)), np.zeros((17, 16, 16, 2)))
    assert xy.shape == (0, 17, 2) and score.shape == (0, 17) and tag.shape == (0, 2)


def test_a_faint_joint_is_read_from_the_map_with_its_own_value() -> None:
    truth = people_at_random(2, (64, 64))
    heatmaps, tags = render(truth, (64, 64))
    heatmaps[9] *= 0.06  # below the detection threshold for both
    xy, score, _ = group(heatmaps, tags)
    assert np.abs(matched(xy, truth)[:, 9] - truth[:, 9]).max() < 0.1
    assert score[:, 9].max() < 0.06 and score[:, 9].min() > 0.02


def test_a_joint_that_is_nowhere_is_missing_with_score_zero() -> None:
    truth = people_at_random(2, (64, 64))
    heatmaps, tags = render(truth, (64, 64))
    heatmaps[5] = 0
    xy, score, _ = group(heatmaps, tags)
    assert np.isnan(xy[:, 5]).all() and (score[:, 5] == 0).all()
    assert np.isfinite(np.delete(xy, 5, 1)).all()


def test_a_far_tag_begins_a_new_person_instead_of_pushing_a_near_one_away() -> None:
    heatmaps, tags = np.zeros((2, 9, 9)), np.zeros((2, 9, 9, 1))
    heatmaps[0, 2, 2], tags[0, 2, 2] = 0.9, 0.0
    heatmaps[1, 6, 6], tags[1, 6, 6] = 0.9, 0.1
    heatmaps[1, 6, 1], tags[1, 6, 1] = 0.8, 5.0
    xy, _, tag = group(heatmaps, tags, GroupConfig(fill=0, order=(0, 1)))
    assert len(xy) == 2
    np.testing.assert_array_equal(xy[0], [[2, 2], [6, 6]])
    assert tag[0, 0] == pytest.approx(0.05)


def test_a_gaussian_is_refined_to_its_centre() -> None:
    truth = np.array([[[10.3, 7.8]]])
    heatmaps, _ = render(truth, (20, 20))
    found = refine_peaks(heatmaps, np.array([[8 * 20 + 10]]))
    np.testing.assert_allclose(found, truth, atol=1e-4)


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match=r"\(17, 8, 8\).*\(16, 8, 8, 1\)"):
        group(np.zeros((17, 8, 8)), np.zeros((16, 8, 8)))
    with pytest.raises(ValueError, match="order must name each of the 3 joints"):
        group(np.zeros((3, 8, 8)), np.zeros((3, 8, 8)), GroupConfig(order=(0, 1, 1)))
