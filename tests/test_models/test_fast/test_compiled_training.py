"""wavemix_mm/models/fast/compiled_training.py: compiled blocks in training."""

import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import HOOKS
from torch import nn

from wavemix_mm.models.backbones.wavemix import WaveMix
from wavemix_mm.models.fast import compiled_training
from wavemix_mm.models.fast.compiled_training import CompiledForward
from wavemix_mm.models.fast.haar_concat import HaarConcat

SIZES = [(32, 48), (37, 51), (64, 32)]


def build(levels=2, **kwargs):
    torch.manual_seed(1)
    return WaveMix(embed_dims=8, depth=2, levels=levels, dropout=0.0, **kwargs)


def id_(x):
    return x


def step(network, size, seed=0):
    """The output and the gradients of a step."""
    x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(seed))
    network.zero_grad()
    (output,) = network(x)
    output.square().mean().backward()
    return [output.detach(), *(p.grad for p in network.parameters())]


def assert_same_steps(network, plain, sizes, count=3):
    for seed in range(count):
        for size in sizes:
            results = step(network, size, seed), step(plain, size, seed)
            for actual, expected in zip(*results, strict=True):
                torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-6)
    for actual, expected in zip(network.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(actual, expected)


def test_steps_and_names_are_the_same_and_blocks_share_a_compilation(graphs):
    plain, network = build(), build()
    network.forward = CompiledForward(network, True, graphs.options)
    assert_same_steps(network, plain, SIZES)
    assert len(graphs) == 3  # one for each size
    assert network.state_dict().keys() == plain.state_dict().keys()
    # a validation runs eagerly
    for each in (network, plain):
        each.eval()
    x = torch.rand(1, 3, 16, 16)
    for _ in range(3):
        assert torch.equal(network(x)[0], plain(x)[0])
    # a copy has its own weights, and needs no compilation of its own
    other = copy.deepcopy(network).train()
    nn.init.zeros_(other.blocks[0].reduction.weight)
    assert_same_steps(network.train(), plain.train(), SIZES[:1])
    assert step(other, SIZES[0])[0].ne(step(plain, SIZES[0])[0]).any()
    assert len(graphs) == 3


def test_the_backward_pass_is_compiled_for_kept_and_recomputed_activations():
    torch._dynamo.reset()
    for with_cp in (False, True):
        plain, network = (build(1, with_cp=with_cp) for _ in range(2))
        network.forward = CompiledForward(network, True, dict(backend="aot_eager", fullgraph=True))
        assert_same_steps(network, plain, SIZES[:1])


def test_activations_can_be_computed_again():
    """With equal dropout, too."""
    results, counts = [], []
    for recomputes in (False, True):
        torch._dynamo.reset()
        network, saved = build(levels=1), []
        for path in network.blocks[0].paths:
            path.dropout.p = 0.5
        options = dict(backend="aot_eager_decomp_partition", recompute=recomputes)
        network.forward = CompiledForward(network, True, options)
        torch.manual_seed(3)
        with torch.autograd.graph.saved_tensors_hooks(lambda x, s=saved: s.append(x) or x, id_):
            results.append(step(network, SIZES[0]))
        counts.append(sum(x.numel() for x in saved if x.dim() == 4 and x.shape[0] == 2))
    hidden = 2 * 16 * 4 * 6  # numbers of one map
    assert counts[0] - counts[1] == hidden * len(network.blocks)
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected)


def test_an_error_of_the_compiler_costs_no_step_and_one_warning_says_so(monkeypatch):
    def fail(graph, inputs):
        raise RuntimeError("no C++ compiler")

    warnings = []
    monkeypatch.setattr(compiled_training, "warn", warnings.append)
    network = build()
    network.forward = CompiledForward(network, True, dict(backend=fail))
    assert_same_steps(network, build(), SIZES[:2])
    (warning,) = warnings
    assert warning.startswith("torch.compile does not work here")


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(8, 8, 1)

    def forward(self, maps):
        return (self.layer(maps[-1]),)


@pytest.mark.parametrize("optimize", [False, True])
def test_which_networks_a_hook_compiles(optimize, graphs):
    plain = SimpleNamespace(backbone=build(), decode_head=Head(), head=None)
    model = copy.deepcopy(plain)
    runner = SimpleNamespace(
        model=model, optim_wrapper=None, logger=SimpleNamespace(info=lambda text: None)
    )
    hook = dict(
        type="wavemix_mm.CompileHook",
        options=dict(graphs.options, haar_kernel=optimize),
        optimize=optimize,
    )
    HOOKS.build(hook).before_train(runner)
    x = torch.rand(1, 3, 16, 16)
    for _ in range(2):
        outputs = [m.decode_head(m.backbone(x))[0] for m in (model, plain)]
        torch.testing.assert_close(*outputs)
    assert len(graphs) == (1 if optimize else 2)
    has_kernel = [type(path.concat) is HaarConcat for path in model.backbone.blocks[0].paths]
    assert has_kernel == [optimize] * 2


def test_no_graphs_after_a_hook_began_to_accumulate_gradients():
    runner = SimpleNamespace(
        model=SimpleNamespace(backbone=build()),
        optim_wrapper=SimpleNamespace(_accumulative_counts=1),
        logger=SimpleNamespace(info=lambda text: None),
    )
    hook = compiled_training.CompileHook(optimize=True)
    hook.before_train(runner)
    for counts in (1, 2, 2):
        runner.optim_wrapper = SimpleNamespace(_accumulative_counts=counts)
        hook.before_train_iter(runner, 0)
        assert runner.model.backbone.forward.try_graphs == (counts == 1)


@pytest.mark.parametrize(("tolerance", "ratio"), [(-1, 2), (1e-3, 2), (1e-3, 0.5)])
def test_cuda_graphs_are_kept_if_they_are_right_and_fast(tolerance, ratio, graphs, monkeypatch):
    """With another backend in place of the graphs, and given times."""
    used = []

    def graph(module, inputs):
        used.append(module)
        return module

    seconds = iter([1.0, 1 / ratio] * 5)
    monkeypatch.setattr(compiled_training, "_GRAPHS", dict(backend=graph))
    monkeypatch.setattr(compiled_training, "_TOLERANCE", tolerance)
    monkeypatch.setattr(compiled_training._Trial, "seconds", lambda self: next(seconds))
    plain, network = build(), build()
    forward = network.forward = CompiledForward(network, True, {}, try_graphs=True)
    forward.options = graphs.options
    torch.manual_seed(5)
    state = torch.get_rng_state()
    assert_same_steps(network, plain, SIZES[:1])
    assert torch.equal(torch.get_rng_state(), state)  # a resumed run makes the trial again
    assert forward.try_graphs == (tolerance > 0 and ratio > 1)
    assert len(used) == 1
    assert len(graphs) == (1 if forward.try_graphs else 2)


@pytest.mark.parametrize(
    ("noise", "graphs", "is_equal"),
    [(0.5, 1.4, True), (0.0, 1.4, False), (0.0, 1.0, True), (0.0, torch.nan, False)],
)
def test_what_a_repetition_changes_is_no_difference(noise, graphs, is_equal):
    results = ([torch.ones(2).bfloat16(), torch.full((2,), x)] for x in (1 + noise, 1.0, graphs))
    assert (compiled_training._difference(*results) <= 1e-3) == is_equal


def test_graphs_that_fail_are_not_used(graphs, monkeypatch):
    def fail(module, inputs):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(compiled_training, "_GRAPHS", dict(backend=fail))
    network = build()
    forward = network.forward = CompiledForward(network, True, {}, try_graphs=True)
    forward.options = graphs.options
    assert_same_steps(network, build(), SIZES[:1])
    assert not forward.try_graphs and forward.works


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_training_on_a_gpu_repeats_itself_with_graphs():
    """Steps of two runs, of which the second begins later, are equal; the log says what is used."""
    weights, saved = [], {}
    for begin in (0, 4):
        torch.compiler.reset()
        network = build().cuda()
        if begin:
            network.load_state_dict(saved)
        network.forward = CompiledForward(network, True, {}, try_graphs=True)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        for i in range(begin, 8):
            if i == 4 and not begin:
                saved = {k: v.clone() for k, v in network.state_dict().items()}
            torch.compiler.cudagraph_mark_step_begin()
            torch.manual_seed(i)
            x = torch.rand(2, 3, 32, 48, device="cuda")
            with torch.autocast("cuda", torch.bfloat16):
                loss = network(x)[0].square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        weights.append(network.state_dict())
    for key, value in weights[0].items():
        torch.testing.assert_close(weights[1][key], value, rtol=1e-2, atol=1e-3)
