import numpy as np
import pytest
import torch

from models.diffusion.networks import GeneratorShape, build_networks, build_tokenizer, learn_merges
from tests.models.diffusion.tiny import CAPTIONS, TINY


def test_every_word_of_the_captions_is_one_token() -> None:
    tokenizer = build_tokenizer(CAPTIONS, 12)
    words = ["a", "person", "in", "red", "top", "even", "light", "two", "people", "blue", "dim"]
    assert [len(tokenizer.tokenize(word)) for word in words] == [1] * len(words)


def test_words_never_seen_are_spelt_and_nothing_is_lost() -> None:
    tokenizer = build_tokenizer(CAPTIONS, 12)
    assert "".join(tokenizer.tokenize("zebra")).removesuffix("</w>") == "zebra"
    assert len(tokenizer.tokenize("é漢")) > 0


def test_the_order_of_captions_does_not_change_the_merges() -> None:
    words = [word for caption in CAPTIONS for word in caption.replace(",", "").split()]
    shuffled = np.random.default_rng(0).permutation(words)
    assert learn_merges(words) == learn_merges(str(word) for word in shuffled)


def test_a_fresh_controlnet_changes_nothing() -> None:
    tokenizer = build_tokenizer(CAPTIONS, TINY.max_tokens)
    networks = build_networks(TINY, tokenizer)
    latents, text = torch.randn(2, TINY.latent_channels, 16, 16), torch.randn(2, 12, TINY.text_width)
    times, condition = torch.tensor([10, 900]), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        down, mid = networks.controlnet(latents, times, text, condition, return_dict=False)
        extra = {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
        steered = networks.unet(latents, times, text, **extra).sample
        assert (steered == networks.unet(latents, times, text).sample).all()


def test_condition_levels_must_match_the_autoencoder() -> None:
    with pytest.raises(ValueError, match="one entry per level"):
        GeneratorShape(condition_channels=(8, 16))
