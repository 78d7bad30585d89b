import cv2
import numpy as np
import pytest

from pipeline.captions import COLOURS, count_words, describe, fill_template
from pipeline.captions import colour_word as word
from pipeline.errors import InputError
from tests.pipeline.test_conditions import standing


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [
        ((200, 20, 20), "red"), ((20, 30, 200), "blue"), ((30, 160, 40), "green"), ((230, 220, 40), "yellow"),
        ((110, 60, 20), "brown"), ((240, 140, 30), "orange"), ((128, 128, 128), "grey"), ((245, 245, 240), "white"),
        ((10, 12, 9), "black"), ((140, 40, 200), "purple"), ((240, 100, 160), "pink"),
    ],
)  # fmt: skip
def test_plain_colours_have_their_name(rgb: tuple[int, int, int], expected: str) -> None:
    assert word(np.array(rgb)) == expected


def test_every_colour_has_a_known_word() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (500, 3))
    assert {word(colour) for colour in colours} <= set(COLOURS)


def test_a_caption_names_clothes_light_and_background() -> None:
    image = np.full((128, 128, 3), 150, np.uint8)
    cv2.rectangle(image, (48, 34), (80, 68), (200, 20, 20), -1)
    cv2.rectangle(image, (50, 69), (78, 115), (20, 30, 200), -1)
    assert describe(image, standing()) == "a person in a red top and blue trousers, even light, grey background"


def test_clothes_that_are_not_seen_are_not_named() -> None:
    assert describe(np.full((64, 64, 3), 250, np.uint8), np.full((2, 17, 2), np.nan)) == (
        "two people, bright light, white background"
    )


def test_the_same_draw_fills_a_template_the_same_way() -> None:
    choices = {"top": ("red", "blue", "green"), "place": ("park", "hall")}
    prompts = {fill_template("{people} in {top}, {place}", choices, 1, np.random.default_rng(s)) for s in (3, 3, 3)}
    assert len(prompts) == 1
    assert len({fill_template("{top}", choices, 1, np.random.default_rng(s)) for s in range(20)}) == 3


def test_an_unreadable_template_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be read as a template"):
        fill_template("{people", {}, 1, np.random.default_rng(0))


def test_crowds_are_named_too() -> None:
    assert count_words(2) == "two people"
    assert count_words(50) == "a group of people"
