from dataclasses import replace

import pytest
import torch

from models.hourglass import HourglassConfig, StackedHourglass, build_hourglass

SMALL = HourglassConfig(channels=8, depth=2, tag_dims=2)


def built(config: HourglassConfig) -> StackedHourglass:
    torch.manual_seed(0)
    return build_hourglass(config)


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_every_stack_gives_quarter_size_heatmaps_and_tags(block: str) -> None:
    outputs = built(replace(SMALL, stacks=3, block=block))(torch.rand(2, 3, 32, 48))
    assert len(outputs) == 3
    for heatmaps, tags in outputs:
        assert heatmaps.shape == (2, 17, 8, 12)
        assert tags.shape == (2, 17, 8, 12, 2)


def test_tags_of_a_joint_come_from_its_own_channels() -> None:
    net = built(SMALL).eval()
    head = net.stacks[-1].head
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.arange(17.0 * 3))
        heatmaps, tags = net(torch.rand(1, 3, 16, 16))[-1]
    assert heatmaps[0, 5].unique().tolist() == [5.0]
    assert tags[0, 5, 0, 0].tolist() == [17 + 10.0, 17 + 11.0]


def test_checkpointed_stacks_give_equal_gradients_and_statistics() -> None:
    plain, spared = built(SMALL), built(replace(SMALL, checkpoint_stacks=True))
    images = torch.rand(4, 3, 32, 32)
    for net in (plain, spared):
        sum(h.square().sum() + t.square().sum() for h, t in net(images)).backward()
    for (name, a), b in zip(plain.named_parameters(), spared.parameters(), strict=True):
        assert a.grad is not None, name
        assert torch.equal(a.grad, b.grad), name
    for (name, a), b in zip(plain.state_dict().items(), spared.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def saved_bytes(net: StackedHourglass, images: torch.Tensor) -> int:
    """Bytes of the distinct storages that autograd keeps for the backward pass, parameters left out."""
    sizes: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = net(images)
    del outputs
    own = {p.untyped_storage().data_ptr() for p in (*net.parameters(), *net.buffers())}
    return sum(size for address, size in sizes.items() if address not in own)


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("stacks", [1, 2, 4])
def test_checkpointed_stacks_keep_a_third_of_the_activations(stacks: int, block: str) -> None:
    config = replace(SMALL, stacks=stacks, channels=32, depth=4, tag_dims=1, block=block)
    images = torch.rand(2, 3, 128, 128)
    plain, spared = (saved_bytes(built(replace(config, checkpoint_stacks=spare)), images) for spare in (False, True))
    assert spared < 0.35 * plain


def test_a_checkpointed_step_counts_its_batch_once() -> None:
    net = built(replace(SMALL, checkpoint_stacks=True))
    counts = [m.num_batches_tracked for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    sum(h.square().sum() for h, _ in net(torch.rand(4, 3, 32, 32))).backward()
    assert [int(count) for count in counts] == [1] * len(counts)  # the very tensors that a state_dict or an EMA holds


def test_a_side_that_is_no_multiple_of_the_stride_is_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 16"):
        built(SMALL)(torch.rand(1, 3, 32, 40))


def test_nonsense_configurations_are_refused() -> None:
    with pytest.raises(ValueError, match="every count must be at least 1"):
        HourglassConfig(stacks=0)
    with pytest.raises(ValueError, match="expected one of .*basic.*got 'resnext'"):
        HourglassConfig(block="resnext")
