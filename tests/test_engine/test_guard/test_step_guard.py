"""Steps with losses or gradients that are not finite have no effect; all others are unchanged."""

import copy

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from processes import run_in_processes

from wavemix_mm.engine.guard.step_guard import StepGuard
from wavemix_mm.engine.optim_wrappers import BFloat16OptimWrapper


class ScalingWrapper(OptimWrapper):
    """AmpOptimWrapper's way of stepping with a scaler for the CPU."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.loss_scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
        self._scale_update_param = None

    step = AmpOptimWrapper.step
    backward = AmpOptimWrapper.backward


class IdleScalerWrapper(ScalingWrapper):
    """Its scaler would step without a look at the gradients."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.loss_scaler = torch.amp.GradScaler("cpu", enabled=False)


class Net(BaseModel):
    """A convolution, a batch norm, a square root whose gradient is infinite at 0."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 3, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(3)
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.to(memory_format=torch.channels_last)

    def forward(self, images, offset, root, mode="tensor"):
        out = self.norm(self.conv(images))
        return {"loss": out.square().mean() + (self.scale * root).abs().sqrt() + offset}


def make_data(images=None, offset=0.0, root=1.0):
    images = torch.rand(2, 2, 4, 4) if images is None else images
    return dict(images=images, offset=torch.tensor(offset), root=torch.tensor(root))


NAN = float("nan")
BAD = {
    "image": lambda: make_data(torch.full((2, 2, 4, 4), NAN)),
    "pixel": lambda: make_data(torch.rand(2, 2, 4, 4).index_fill(3, torch.tensor([1]), 1e38)),
    "loss alone": lambda: make_data(offset=float("inf")),  # the gradients are finite
    "gradient alone": lambda: make_data(root=0.0),  # the loss is finite
}
OPTIMIZERS = {
    "SGD": dict(lr=0.1, momentum=0.9, weight_decay=0.1),
    "AdamW": dict(lr=0.1, weight_decay=0.1),
}
# kind of wrapper, arguments of the optimizer
WAYS = {
    "float32": (OptimWrapper, {}),
    "bfloat16": (BFloat16OptimWrapper, {}),
    "scaled": (ScalingWrapper, {}),
    "scaled and fused": (ScalingWrapper, dict(fused=True)),
    "scaler off": (IdleScalerWrapper, {}),
    "fused": (OptimWrapper, dict(fused=True)),
}


def build(way, optimizer, model, guarded=True, **kwargs):
    kind, arguments = WAYS[way]
    optimizer = getattr(torch.optim, optimizer)(
        model.parameters(), **OPTIMIZERS[optimizer], **arguments
    )
    wrapper = kind(optimizer=optimizer, **kwargs)
    return wrapper, StepGuard(wrapper, model) if guarded else None


def run(model, wrapper, guard, batches):
    for number, batch in enumerate(batches):
        if guard is not None:
            guard.begin(number)
        model.train_step(batch, wrapper)


def snapshot(model, wrapper):
    state = dict(model.state_dict())
    for parameter, values in wrapper.optimizer.state.items():
        names = [key for key, value in model.named_parameters() if value is parameter]
        state |= {f"{names[0]} {key}": value for key, value in values.items()}
    return {key: value.clone() for key, value in state.items() if value is not None}


def assert_equal(got, expected):
    assert set(got) == set(expected)
    for key, value in got.items():
        assert torch.equal(value, expected[key]), key


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", [0, 2])
def test_a_bad_step_is_as_if_it_had_not_been(way, optimizer, bad, place):
    """To the bit, without the guard and the bad batch: after it, and when the training goes on."""
    model = Net()
    other = copy.deepcopy(model)
    wrapper, guard = build(way, optimizer, model)
    plain, _ = build(way, optimizer, other, guarded=False)
    batches = [make_data() for _ in range(3)]
    run(other, plain, None, batches)
    run(model, wrapper, guard, [*batches[:place], BAD[bad](), *batches[place:]])
    assert_equal(snapshot(model, wrapper), snapshot(other, plain))
    assert [(step.is_finite, step.notes) for step in guard.results(wait=True)] == [
        (number != place, [number]) for number in range(4)
    ]
    assert not list(guard.results(wait=True))


@pytest.mark.parametrize("way", WAYS)
def test_accumulated_gradients_are_dropped_together(way):
    """One bad of three iterations spoils their step, and the next step is clean."""
    model = Net()
    wrapper, guard = build(way, "SGD", model, accumulative_counts=3)
    wrapper.initialize_count_status(model, 0, 6)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    run(model, wrapper, guard, [make_data(), BAD["image"](), make_data()])
    (step,) = guard.results(wait=True)
    assert not step.is_finite
    assert step.notes == [0, 1, 2]
    assert [loss.isfinite().item() for loss in step.losses] == [True, False, True]
    assert_equal(dict(model.state_dict()), before)
    run(model, wrapper, guard, [make_data()] * 3)
    (step,) = guard.results(wait=True)
    assert step.is_finite
    assert not torch.equal(model.conv.weight, before["conv.weight"])
    assert all(value.isfinite().all() for value in snapshot(model, wrapper).values())


@pytest.mark.parametrize("way", WAYS)
def test_two_steps_of_one_iteration(way):
    model = Net()
    wrapper, guard = build(way, "SGD", model)
    guard.begin(7)
    run(model, wrapper, None, [make_data(), BAD["image"]()])
    assert [(step.is_finite, step.notes) for step in guard.results(wait=True)] == [
        (True, [7]),
        (False, [7]),
    ]
    assert all(value.isfinite().all() for value in model.state_dict().values())


@pytest.mark.parametrize("offset", [0.0, NAN])
@pytest.mark.parametrize("way", [way for way in WAYS if "scale" not in way])
def test_no_gradient_at_all(way, offset):
    """The loss does not reach what this optimizer trains; torch does nothing then."""
    frozen, trained = torch.nn.Linear(2, 2), torch.nn.Linear(2, 1)
    kind, arguments = WAYS[way]
    wrapper = kind(optimizer=torch.optim.SGD(trained.parameters(), lr=0.1, **arguments))
    guard = StepGuard(wrapper, torch.nn.ModuleList([frozen, trained]))
    before = copy.deepcopy(trained.state_dict())
    wrapper.update_params(frozen(torch.ones(1, 2)).sum() + offset)
    (step,) = guard.results(wait=True)
    assert step.is_finite == (offset == 0)
    assert_equal(dict(trained.state_dict()), before)


@pytest.mark.parametrize(
    ("kind", "indices", "factor"),
    [
        *((OptimWrapper, indices, factor) for indices in ([0, 1, 1], []) for factor in (1.0, NAN)),
        (ScalingWrapper, [0, 1, 1], 1.0),
        (ScalingWrapper, [0, 1, 1], NAN),
    ],
)
def test_sparse_gradients(kind, indices, factor):
    model = torch.nn.Embedding(4, 2, sparse=True)
    wrapper = kind(optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    guard = StepGuard(wrapper, model)
    before = model.weight.detach().clone()
    wrapper.update_params((model(torch.tensor(indices, dtype=torch.long)) * factor).sum() + factor)
    (step,) = guard.results(wait=True)
    assert step.is_finite == (factor == 1)
    changed = bool(indices) and factor == 1
    assert torch.equal(model.weight, before) != changed


class Mixed(torch.nn.Module):
    """Weights and buffers of several types, shapes and layouts."""

    def __init__(self):
        super().__init__()
        types = (torch.float16, torch.float64, torch.complex64)
        self.weights = torch.nn.ParameterList([torch.ones(2, dtype=dtype) for dtype in types])
        self.weights.append(torch.ones(0))
        self.register_buffer("count", torch.tensor(3))
        self.register_buffer("flag", torch.tensor([True, False]))
        self.register_buffer("nothing", torch.ones(0))
        self.register_buffer("constant", torch.ones(1).expand(4))
        self.register_buffer("image", torch.ones(1, 2, 3, 3).to(memory_format=torch.channels_last))

    def forward(self):
        for buffer in (self.count, self.flag, self.image):
            buffer.zero_()
        return sum(weight.real.double().sum() for weight in self.weights)


@pytest.mark.parametrize("bad", [0, 1, 2, None])
@pytest.mark.parametrize("fused", [False, True])
def test_tensors_of_every_kind(bad, fused):
    model = Mixed()
    if fused:  # which takes no complex ones
        model.weights[2] = torch.ones(2, dtype=torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=fused)
    wrapper = OptimWrapper(optimizer)
    guard = StepGuard(wrapper, model)
    if bad is not None:
        model.weights[bad].register_hook(lambda grad: grad * NAN)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    wrapper.update_params(model())
    (step,) = guard.results(wait=True)
    assert step.is_finite == (bad is None)
    if bad is None:
        assert model.count == 0 and all((weight != 1).all() for weight in model.weights)
    else:
        assert_equal(dict(model.state_dict()), before)


def test_first_gradients_that_come_late_and_are_bad():
    """The fused SGD leaves its momentum unwritten; so for a group that begins to train later."""
    model = torch.nn.ModuleList([torch.nn.Linear(64, 64), torch.nn.Linear(64, 64)])
    groups = [dict(params=part.parameters()) for part in model]
    wrapper = OptimWrapper(torch.optim.SGD(groups, lr=0.1, momentum=0.9, fused=True))
    guard = StepGuard(wrapper, model)
    wrapper.update_params(model[0](torch.ones(1, 64)).sum())
    wrapper.update_params(model[1](torch.full((1, 64), NAN)).sum())
    state = wrapper.optimizer.state
    assert all(state[p]["momentum_buffer"].eq(0).all() for p in model[1].parameters())
    assert [step.is_finite for step in guard.results(wait=True)] == [True, False]


@pytest.mark.parametrize(("factor", "buffer"), [(3e38, 0.0), (1.0, -float("inf"))])
def test_finite_steps(factor, buffer):
    """Gradients whose sum is more than float32 can hold; a buffer that is infinite on purpose."""
    model = torch.nn.Linear(2, 1, bias=False)
    model.register_buffer("mask", torch.full((3,), buffer))
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-38))
    guard = StepGuard(wrapper, model)
    guard.begin(None)
    wrapper.update_params((model.weight * factor).sum())
    (step,) = guard.results(wait=True)
    assert step.is_finite


def test_a_step_that_raises_leaves_no_answer_to_the_kernel():
    """The answer would decide on later steps that nothing guards."""
    model = Net()
    wrapper, guard = build("fused", "SGD", model)

    def fail(*_):
        raise MemoryError

    hook = wrapper.optimizer.register_step_pre_hook(fail)
    with pytest.raises(MemoryError):
        run(model, wrapper, guard, [make_data()])
    hook.remove()
    assert not hasattr(wrapper.optimizer, "found_inf")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("fused", [False, True])
def test_on_a_gpu(fused):
    model = Net().cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=fused)
    wrapper = OptimWrapper(optimizer)
    guard = StepGuard(wrapper, model)
    batches = [make_data(), BAD["image"](), make_data()]
    batches = [{key: value.cuda() for key, value in batch.items()} for batch in batches]
    model.train_step(batches[0], wrapper)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    if fused:  # the host does not wait
        torch.cuda.set_sync_debug_mode("error")
    try:
        for number, batch in enumerate(batches[1:]):
            guard.begin(number)
            losses = model(**batch, mode="loss")
            wrapper.update_params(losses["loss"])
            if number == 0:
                after = {key: value.clone() for key, value in model.state_dict().items()}
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert_equal(after, before)
    known = [step.is_finite for step in guard.results(wait=False)]
    assert known == ([True, False] if fused else [True, False, True])
    known += [step.is_finite for step in guard.results(wait=True)]
    assert known == [True, False, True]


def step_in_two():
    """Two processes, of which the second has a bad batch; returns the weights and the answers."""
    import os

    torch.distributed.init_process_group("gloo")
    torch.manual_seed(0)
    model = Net()
    wrapper, guard = build("fused", "SGD", model)
    parallel = torch.nn.parallel.DistributedDataParallel(model, broadcast_buffers=False)
    torch.manual_seed(int(os.environ["RANK"]))
    for number in range(3):
        is_bad = number == 1 and os.environ["RANK"] == "1"
        guard.begin(number)
        losses = parallel(**(BAD["loss alone"]() if is_bad else make_data()), mode="loss")
        wrapper.update_params(losses["loss"])
    state = {key: value.numpy() for key, value in model.state_dict().items()}
    return state, [step.is_finite for step in guard.results(wait=True)]


def test_all_processes_leave_out_the_same_step():
    (first, answers), (second, others) = run_in_processes(2, step_in_two)
    assert answers == others == [True, False, True]
    for name in ("conv.weight", "scale"):
        assert (first[name] == second[name]).all()
    assert all(abs(value).max() < 100 for state in (first, second) for value in state.values())
