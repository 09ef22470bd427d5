"""wavemix_mm/models/fast/fast_forward.py: how an optimized network runs."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from wavemix_mm.errors import UserInputError
from wavemix_mm.models.backbones.wavemix import WaveMix
from wavemix_mm.models.fast import by_size, fast_forward
from wavemix_mm.models.fast.fast_forward import Ways
from wavemix_mm.models.fast.optimize import apply

SIZES = [(32, 48), (64, 32), (37, 51)]
NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture
def plain(randomize_norms):
    network = WaveMix(embed_dims=8, depth=3, levels=2).eval()
    randomize_norms(network)
    return network


def ways(graphs, dtype=torch.float32):
    return Ways(True, dtype, graphs.options)


def images(size, number=1):
    return torch.rand(number, 3, *size)


def assert_close(network, plain, x, tolerance=1e-5):
    with torch.no_grad():
        actual, expected = network(x)[-1], plain(x)[-1]
    assert actual.dtype == expected.dtype
    assert (actual - expected).abs().max() <= tolerance * expected.abs().max()


def test_one_compilation_serves_all_blocks_of_a_size_that_repeats(plain, graphs):
    apply(network := copy.deepcopy(plain), ways(graphs))
    for number, size in enumerate(SIZES[:2]):
        for compiled in (number, number + 1, number + 1):
            assert_close(network, plain, images(size))
            assert len(graphs) == compiled
    # neither inference mode, autocast nor a copy compiles again
    x = images(SIZES[0])
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        output = network(x)[-1]
    assert output.dtype == torch.float32 and not output.is_inference()
    for _ in range(2):
        assert_close(copy.deepcopy(network), plain, x)
    assert len(graphs) == 2


def test_sizes_beyond_the_bound_run_eagerly_and_one_warning_says_so(plain, graphs, monkeypatch):
    warnings = []
    monkeypatch.setattr(by_size, "warn", warnings.append)
    monkeypatch.setattr(by_size, "MAX_SIZES", 2)
    apply(network := copy.deepcopy(plain), ways(graphs))
    for _ in range(3):
        for size in SIZES:
            assert_close(network, plain, images(size))
    assert len(graphs) == 2
    assert len(warnings) == 1 and "2 sizes" in warnings[0]


def test_without_a_working_compiler_it_runs_eagerly_and_one_warning_says_so(plain, monkeypatch):
    def fail(graph, inputs):
        raise RuntimeError("no C++ compiler\nin the path")

    warnings = []
    monkeypatch.setattr(fast_forward, "warn", warnings.append)
    apply(network := copy.deepcopy(plain), Ways(True, torch.float32, dict(backend=fail)))
    for _ in range(2):
        for size in SIZES:
            assert_close(network, plain, images(size))
    (warning,) = warnings
    assert warning.startswith("torch.compile does not work here") and "\n" not in warning


def test_what_was_prepared_belongs_to_a_place_of_the_weights_and_to_a_type(plain, graphs):
    apply(network := copy.deepcopy(plain), ways(graphs))
    forward, x = network.forward, images(SIZES[0])
    for _ in range(2):
        assert_close(network, plain, x)
    assert len(forward._runs) == 1
    network.load_state_dict(network.state_dict())  # in place
    assert_close(network, plain, x)
    assert len(forward._runs) == 1
    network.double().float()
    assert_close(network, plain, x)
    assert not forward._runs
    network.load_state_dict({k: v * 0 for k, v in network.state_dict().items()}, assign=True)
    for _ in range(3):
        assert not network(x)[-1].any()
    with torch.inference_mode():
        x = images(SIZES[0])  # a tensor without a version counter
        assert not network(x)[-1].any()
    assert len(graphs) == 1


class Sum(torch.nn.Module):
    """Also of no maps."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, *maps):
        return sum(x.sum() for x in maps)

    def switch_to_deploy(self):
        pass


def test_types_of_the_inputs_and_calls_without_any(graphs):
    apply(network := Sum().eval(), ways(graphs))
    for x in (torch.tensor([1.5]), torch.tensor([2]), torch.tensor([True])) * 3:
        assert network(x) == x.sum() and network(x).dtype == x.sum().dtype
    assert network() == 0
    assert len(network.forward._runs) == 3


def test_threads(plain, graphs):
    apply(network := copy.deepcopy(plain), ways(graphs))
    for sizes in (SIZES[:1], SIZES[1:2], SIZES[:2]):  # threads end, others compile
        with ThreadPoolExecutor(4) as pool:
            xs = [images(size) for size in sizes] * 4
            list(pool.map(lambda x: assert_close(network, plain, x), xs))
    assert len(graphs) == 2


def test_copies_run_their_own_weights(plain):
    apply(plain, Ways(True, torch.float32))
    x = images(SIZES[0])
    expected = plain(x)[-1]
    for other in (copy.deepcopy(plain), pickle.loads(pickle.dumps(plain))):
        for parameter in other.parameters():
            parameter.zero_()
        assert not other(x)[-1].any()
    assert torch.equal(plain(x)[-1], expected)


def test_gradients_of_images(plain):
    apply(network := copy.deepcopy(plain), Ways(True, torch.float32))
    gradients = []
    for model in (plain, network):
        x = torch.ones(1, 3, 16, 16, requires_grad=True)
        model(x)[-1].square().sum().backward()
        gradients.append(x.grad)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_training_is_refused(plain):
    apply(plain, Ways(True, torch.float32))
    plain.train()
    with pytest.raises(UserInputError, match="WaveMix was optimized for inference"):
        plain(images(SIZES[0]))
    plain.eval()(images(SIZES[0]))


@NEEDS_GPU
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_graphs_on_a_gpu(plain, dtype, monkeypatch):
    monkeypatch.setattr(by_size, "MAX_SIZES", 2)
    plain.cuda()
    apply(network := copy.deepcopy(plain), Ways(True, dtype, None, graph=True))
    tolerance = 5e-3 if dtype == torch.float32 else 2e-2  # TF32
    for _ in range(4):
        for size in SIZES:
            assert_close(network, plain, images(size, 2).cuda(), tolerance)
    graphs = [run for run in network.forward._runs.values()]
    assert [type(graph) for graph in graphs] == [fast_forward.CUDAGraph] * 2
    # the weights may change, and move
    network.load_state_dict({k: v * 0 for k, v in network.state_dict().items()})
    x = images(SIZES[0], 2)
    assert not network(x.cuda())[-1].any()
    network.cpu()
    assert not network(x)[-1].any()
    # outputs are copies
    network = copy.deepcopy(plain)
    apply(network, Ways(True, dtype, None, graph=True))
    outputs = [network(images(SIZES[0], 2).cuda())[-1] for _ in range(4)]
    assert not torch.equal(outputs[2], outputs[3])


@NEEDS_GPU
def test_threads_on_a_gpu(plain):
    plain.cuda()
    apply(network := copy.deepcopy(plain), Ways(True, torch.float32, None, graph=True))

    def call(i):
        with torch.cuda.stream(torch.cuda.Stream()):
            assert_close(network, plain, images(SIZES[i % 3]).cuda(), 5e-3)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(call, range(60)))
