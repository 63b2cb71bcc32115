"""Networks whose kernels start equal, as the authors' do."""

import torch

from rescrnet.config import ResCRNetConfig, UNetConfig
from rescrnet.nn.build import build_network
from rescrnet.nn.initialization import share_kernels
from rescrnet.nn.network import ResCRNet


def test_kernels_of_one_kind_and_shape_start_equal_and_as_the_first_of_them_would():
    torch.manual_seed(0)
    network = ResCRNet(1, 3)
    first, second, *_, last = network.blocks
    drawn = {name: value.clone() for name, value in network.state_dict().items()}
    share_kernels(network)

    for kernels in zip(
        [kernel for branch in second.branches for kernel in (branch.first.depthwise, branch.second.depthwise)],
        [kernel for branch in last.branches for kernel in (branch.first.depthwise, branch.second.depthwise)],
        strict=True,
    ):
        assert torch.equal(*kernels)
    assert torch.equal(first.branches[0].second.pointwise.weight, last.branches[2].second.pointwise.weight)
    scans = network.head[0]
    for kind in ("input_kernel", "recurrent_kernel"):
        kernel = getattr(scans.rows, kind)
        assert torch.equal(kernel[0], kernel[1])
        assert torch.equal(kernel, getattr(scans.columns, kind))
    assert not torch.equal(scans.rows.input_kernel, scans.rows.recurrent_kernel)

    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, drawn[name])}
    assert not {name for name in changed if "running" in name or "bias" in name}
    assert not {name for name in changed if name.startswith("blocks.0.") and "depthwise" in name}
    assert "blocks.1.branches.0.0.depthwise" not in changed
    assert "blocks.2.branches.0.0.depthwise" in changed


def test_a_network_is_built_with_shared_kernels_where_that_is_asked_for():
    shared, independent = [], []
    for initialization, found in (("shared", shared), ("independent", independent)):
        torch.manual_seed(0)
        network = build_network(1, 3, ResCRNetConfig(n=3, filters=2), initialization)
        found += [branch.first.depthwise for block in network.conv_blocks[1:] for branch in block.branch_list[1:2]]
    assert torch.equal(*shared)
    assert not torch.equal(*independent)
    assert torch.equal(shared[0], independent[0])  # both draw the same


def test_the_comparators_have_the_same_weights_either_way():
    weights = []
    for initialization in ("shared", "independent"):
        torch.manual_seed(0)
        weights.append(build_network(1, 3, UNetConfig(architecture="unet"), initialization).state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
