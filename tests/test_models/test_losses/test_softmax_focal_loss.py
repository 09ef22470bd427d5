import pytest
import torch
import torch.nn.functional as F
from mmseg.models.losses import CrossEntropyLoss

from wavemix_mm.errors import UserInputError
from wavemix_mm.models.losses.softmax_focal_loss import SoftmaxFocalLoss

K = 5
CLASS_WEIGHT = [0.5, 1.0, 2.0, 0.25, 3.0]


@pytest.fixture
def batch():
    """Logits and labels with some ignored pixels (255)."""
    labels = torch.randint(0, K, (2, 6, 7))
    labels[0, :2] = 255
    return 3 * torch.randn(2, K, 6, 7), labels


def _independent(logits, labels, gamma, ignore_index=255):
    """(1 - p_t)^gamma * -log(p_t) for each pixel in float64, with one-hot probabilities."""
    logits = logits.double()
    p = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    counted = labels != ignore_index
    one_hot = F.one_hot(labels.where(counted, 0), K).permute(0, 3, 1, 2).double()
    p_t = (p * one_hot).sum(dim=1)
    return torch.where(counted, (1 - p_t) ** gamma * -torch.log(p_t), 0.0), counted


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2.0, 5])
def test_equals_an_independent_formula(batch, gamma):
    logits, labels = batch
    expected, counted = _independent(logits, labels, gamma)
    loss = SoftmaxFocalLoss(gamma=gamma)
    options = [("none", expected), ("sum", expected.sum())]
    options += [("mean", expected.sum() / counted.sum())]
    for reduction, value in options:
        got = loss(logits, labels, reduction_override=reduction)
        torch.testing.assert_close(got.double(), value, rtol=1e-5, atol=1e-7)
    mean = SoftmaxFocalLoss(gamma=gamma, avg_non_ignore=False)(logits, labels)
    torch.testing.assert_close(mean.double(), expected.mean(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("class_weight", [None, CLASS_WEIGHT])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_gamma_zero_is_cross_entropy(batch, class_weight, reduction):
    """PyTorch's on ignored labels, and mmseg's."""
    logits, labels = batch
    kwargs = dict(class_weight=class_weight, reduction=reduction, loss_weight=0.7)
    ours = SoftmaxFocalLoss(gamma=0, **kwargs)
    weight = None if class_weight is None else torch.tensor(class_weight)
    expected = F.cross_entropy(logits, labels, weight, ignore_index=255, reduction=reduction)
    torch.testing.assert_close(ours(logits, labels), 0.7 * expected)
    if class_weight is not None:
        # their weighted mean fails with avg_non_ignore, and 1.2.2 on ignored labels in any case
        labels = labels % K
    theirs = CrossEntropyLoss(avg_non_ignore=class_weight is None, **kwargs)
    expected = theirs(logits, labels, ignore_index=255)
    torch.testing.assert_close(ours(logits, labels, ignore_index=255), expected)


def test_weight_and_avg_factor(batch):
    logits, labels = batch
    loss = SoftmaxFocalLoss(loss_weight=3.0)
    pixels = loss(logits, labels, reduction_override="none")
    weight = torch.rand(labels.shape)
    for factor in (11, torch.tensor(11.0)):
        got = loss(logits, labels, weight=weight, avg_factor=factor)
        torch.testing.assert_close(got, (pixels * weight).sum() / 11)


@pytest.mark.parametrize("gamma", [0, 0.5, 2])
def test_gradcheck(gamma):
    logits = torch.randn(1, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([[[0, 1, 2], [255, 2, 0]]])
    loss = SoftmaxFocalLoss(gamma=gamma, class_weight=[1.0, 2.0, 0.5])
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), logits)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_exact(batch, dtype):
    logits, labels = batch
    logits = logits.to(dtype)
    expected = SoftmaxFocalLoss()(logits.float(), labels)
    with torch.autocast("cpu", dtype):
        got = SoftmaxFocalLoss()(logits, labels)
        also = SoftmaxFocalLoss()(logits.float(), labels)
    assert got.dtype == torch.float32
    assert torch.equal(got, expected) and torch.equal(also, expected)
    assert torch.equal(SoftmaxFocalLoss()(logits, labels), expected)


@pytest.mark.parametrize("avg_non_ignore", [True, False])
@pytest.mark.parametrize("class_weight", [None, CLASS_WEIGHT])
def test_all_ignored(batch, class_weight, avg_non_ignore):
    logits, labels = batch
    logits.requires_grad_()
    loss = SoftmaxFocalLoss(class_weight=class_weight, avg_non_ignore=avg_non_ignore)
    value = loss(logits, torch.full_like(labels, 255))
    assert value == 0 and value.shape == ()
    value.backward()
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("ignore_index", [255, -100, 2, None])
def test_ignore_index_and_gradients(batch, ignore_index):
    logits, labels = batch
    labels = labels % K
    if ignore_index is not None:
        labels[1, 3:] = ignore_index
    ours, theirs = logits.requires_grad_(), logits.detach().double().requires_grad_()
    value = SoftmaxFocalLoss()(ours, labels, ignore_index=ignore_index)
    index = -1 if ignore_index is None else ignore_index
    pixels, counted = _independent(theirs, labels, 2, index)
    expected = pixels.sum() / counted.sum()
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=0)
    value.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=1e-4, atol=1e-6)


def test_bad_labels_are_named(batch):
    logits, labels = batch
    labels[1, 4, 4], labels[1, 5, 5], labels[1, 5, 6] = 5, -1, 7
    with pytest.raises(UserInputError, match=r"-1, 5, 7, .*\[0, 5\).*ignore_index=255"):
        SoftmaxFocalLoss()(logits, labels)
    labels[labels == 255] = 0
    with pytest.raises(UserInputError, match="ignore_index=None"):
        SoftmaxFocalLoss()(logits, labels, ignore_index=None)
    with pytest.raises(UserInputError, match=r"2, 3, 4, 5, 6, 7, 8, 9, \.\.\."):
        SoftmaxFocalLoss()(logits[:, :2], torch.arange(84).view(2, 6, 7))


def test_on_a_device_bad_labels_are_found_within_the_interval(monkeypatch):
    """The check of an accelerator, with tensors on the CPU. Most steps do not wait for it."""
    reads = []
    tolist = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: reads.append(1) or tolist(self))
    loss, good = SoftmaxFocalLoss(), torch.zeros(3, dtype=torch.long)  # 0 stands for a good label
    assert loss._extremes_at_intervals(torch.tensor([0, 9, -3, 6])) == [-3, 9]
    assert loss._extremes_at_intervals(torch.tensor([0, 17])) == []  # no look in this step
    for _ in range(loss.CHECK_INTERVAL - 2):
        assert loss._extremes_at_intervals(good) == []
    assert loss._extremes_at_intervals(torch.tensor([0, 6])) == [17]
    for _ in range(loss.CHECK_INTERVAL):
        assert loss._extremes_at_intervals(good) == []  # what was reported is not reported again
    assert len(reads) == 3


def test_meta_tensors_are_not_read():
    logits = torch.empty(2, K, 6, 7, device="meta")
    labels = torch.empty(2, 6, 7, dtype=torch.long, device="meta")
    assert SoftmaxFocalLoss(class_weight=CLASS_WEIGHT).to("meta")(logits, labels).is_meta


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_steps_do_not_synchronize(batch):
    logits, labels = (tensor.cuda() for tensor in batch)
    loss = SoftmaxFocalLoss(class_weight=CLASS_WEIGHT).cuda()
    expected = SoftmaxFocalLoss(class_weight=CLASS_WEIGHT)(*batch)
    torch.testing.assert_close(loss(logits, labels).cpu(), expected)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(5):
            loss(logits, labels)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    bad = labels.clone()
    bad[0, 0, 0] = 77
    loss(logits, bad)
    with pytest.raises(UserInputError, match="contain 77, "):
        for _ in range(loss.CHECK_INTERVAL):
            loss(logits, labels)


@pytest.mark.parametrize("gamma", [0.01, 0.5, 1, 2])
def test_gradient_is_finite_where_the_probability_is_one(gamma):
    logits = torch.zeros(1, K, 1, 2)
    logits[0, 3, 0, 0], logits[0, 3, 0, 1] = 200.0, -200.0
    logits.requires_grad_()
    loss = SoftmaxFocalLoss(gamma=gamma, reduction="sum")
    value = loss(logits, torch.full((1, 1, 2), 3))
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(logits.grad).all()
    assert (logits.grad[..., 0] == 0).all() and (logits.grad[..., 1] != 0).any()


def test_easy_pixels_keep_their_digits():
    # 1 - p_t is about 1e-6 here, where 1 - exp(-CE) in float32 would have one digit left
    logits = torch.tensor([14.0, 0.0]).view(1, 2, 1, 1)
    got = SoftmaxFocalLoss(gamma=1)(logits, torch.zeros(1, 1, 1, dtype=torch.long))
    p, miss = torch.sigmoid(torch.tensor([14.0, -14.0], dtype=torch.float64))
    torch.testing.assert_close(got.double(), miss * -torch.log(p), rtol=0.1, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_saves_no_more_large_tensors_than_cross_entropy(dtype):
    logits = torch.randn(2, 19, 16, 16, requires_grad=True)
    labels = torch.randint(0, 19, (2, 16, 16))

    def saved(function):
        storages = set()

        def pack(tensor):
            if tensor.numel() >= logits.numel():
                storages.add(tensor.untyped_storage().data_ptr())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            value = function(logits.to(dtype))
        value.backward()
        return len(storages)

    loss = SoftmaxFocalLoss(class_weight=[1.0] * 19)
    assert saved(lambda x: F.cross_entropy(x.float(), labels)) == 1
    assert saved(lambda x: loss(x, labels)) == 1


def test_compiles_without_graph_breaks(batch):
    torch._dynamo.reset()
    loss = SoftmaxFocalLoss(class_weight=CLASS_WEIGHT)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*batch), loss(*batch))


def test_bad_arguments_are_named(batch):
    logits, labels = batch
    with pytest.raises(UserInputError, match="gamma=-1"):
        SoftmaxFocalLoss(gamma=-1)
    with pytest.raises(UserInputError, match="'average'"):
        SoftmaxFocalLoss(reduction="average")
    with pytest.raises(UserInputError, match="'all'"):
        SoftmaxFocalLoss()(*batch, reduction_override="all")
    with pytest.raises(UserInputError, match="class_weight .* 2 values, .* 5 classes"):
        SoftmaxFocalLoss(class_weight=[1.0, 1.0])(*batch)
    with pytest.raises(UserInputError, match="logits of one channel"):
        SoftmaxFocalLoss()(logits[:, :1], labels)


def test_defaults():
    loss = SoftmaxFocalLoss()
    assert (loss.gamma, loss.loss_weight, loss.reduction) == (2.0, 1.0, "mean")
    assert loss.avg_non_ignore and loss.class_weight is None and loss.loss_name == "loss_focal"
    assert SoftmaxFocalLoss(loss_name="loss_x").loss_name == "loss_x"
    assert not SoftmaxFocalLoss(class_weight=[1.0]).state_dict()
