"""Pixel-wise focal loss over mutually exclusive classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor, nn

from wavemix_mm.errors import UserInputError
from wavemix_mm.registry import MODELS


@MODELS.register_module()
class SoftmaxFocalLoss(nn.Module):
    """Focal loss on softmax probabilities: (1 - p_t)**gamma * CE for each pixel.

    The paper trains segmentation with it (section 4.2). mmseg's FocalLoss works on sigmoids; the
    loss of Lin et al. (2017) with a softmax is the one here. p_t is taken from the cross-entropy
    (p_t = exp(-CE)), so that no probability tensor over all classes is stored; and all is computed
    in float32 if the logits have a shorter type.

    Args:
        gamma: Focusing exponent, at least 0; 0 is plain cross-entropy.
        class_weight: One weight for each class.
        loss_weight: Factor of the whole loss.
        reduction: 'mean', 'sum' or 'none'.
        avg_non_ignore: Whether the mean is over the pixels that are not ignored, or over all.
            With class weights the mean is weighted, as in PyTorch. In training with several
            processes, the pixels of all processes count: a split batch has the same gradient.
        loss_name: Name in the log; mmengine adds up all values whose name starts with 'loss'.

    Raises:
        UserInputError: On a negative gamma or an unknown reduction.
    """

    # As mmseg's losses say it: the classes exclude each other, so that there are at least two.
    use_sigmoid = False
    # On an accelerator, labels are looked at only every so many steps.
    CHECK_INTERVAL = 100

    def __init__(
        self,
        gamma: float = 2.0,
        class_weight: Sequence[float] | None = None,
        loss_weight: float = 1.0,
        reduction: str = "mean",
        avg_non_ignore: bool = True,
        loss_name: str = "loss_focal",
    ) -> None:
        super().__init__()
        if gamma < 0:
            raise UserInputError(f"gamma={gamma} of SoftmaxFocalLoss is negative.")
        _check_reduction(reduction)
        self.gamma = gamma
        self.loss_weight = loss_weight
        self.reduction = reduction
        self.avg_non_ignore = avg_non_ignore
        self.loss_name = loss_name
        weight = None if class_weight is None else torch.tensor(class_weight, dtype=torch.float)
        self.register_buffer("class_weight", weight, persistent=False)
        self._extremes: Tensor | None = None
        self._steps = 0

    def forward(
        self,
        logits: Tensor,
        labels: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
        ignore_index: int | None = 255,
    ) -> Tensor:
        """Compute the loss.

        Args:
            logits: (N, K, H, W), any floating type.
            labels: (N, H, W), integers in [0, K) or ignore_index.
            weight: (N, H, W), factor of each pixel.
            avg_factor: Divisor of the sum in place of the number of pixels.
            reduction_override: Reduction for this call.
            ignore_index: Label that counts for nothing; None for none.

        Returns:
            A scalar, or (N, H, W) with reduction 'none'. Where every pixel is ignored it is 0, and
            still has a gradient (of zeros).

        Raises:
            UserInputError: If a label is neither a class nor ignore_index. On an accelerator the
                first step and every hundredth are checked, because a check waits for the device;
                until then such pixels count as ignored. Also if class_weight has not one value
                for each class, or there is only one channel.
        """
        reduction = reduction_override or self.reduction
        _check_reduction(reduction)
        num_classes = logits.shape[1]
        if num_classes < 2:
            raise UserInputError(
                "SoftmaxFocalLoss got logits of one channel: with a softmax its loss is 0 whatever "
                "the model does. Set out_channels=num_classes=2, or use a loss with a sigmoid, "
                "e.g. CrossEntropyLoss(use_sigmoid=True)."
            )
        if self.class_weight is not None and len(self.class_weight) != num_classes:
            raise UserInputError(
                f"class_weight of SoftmaxFocalLoss has {len(self.class_weight)} values, but there "
                f"are {num_classes} classes."
            )
        labels = labels.long()
        is_class = (labels >= 0) & (labels < num_classes)
        ignored = torch.zeros_like(is_class) if ignore_index is None else labels == ignore_index
        bad = self._bad_labels(labels, is_class | ignored)
        if bad:
            raise UserInputError(
                f"labels contain {', '.join(map(str, bad[:8]))}{', ...' * (len(bad) > 8)}, which "
                f"lie outside [0, {num_classes}) and are not ignore_index={ignore_index}."
            )
        counted = is_class & ~ignored

        # autocast would run the log-softmax in float32 too, but not the power and the products
        device_type = "cpu" if logits.is_meta else logits.device.type
        with torch.autocast(device_type, enabled=False):
            logits = logits if logits.dtype == torch.float64 else logits.float()
            cross_entropy = F.cross_entropy(
                logits, labels.where(counted, -100), reduction="none", ignore_index=-100
            )
            loss = cross_entropy
            if self.gamma > 0:
                # 1 - p_t without cancellation. The bound keeps the gradient of a power below 1
                # finite if p_t is 1; it is far below the resolution of a float32 loss.
                miss = -torch.expm1(-cross_entropy)
                loss = miss.clamp(min=1e-20) ** self.gamma * cross_entropy
            count = counted.float()
            if self.class_weight is not None:
                class_weight = self.class_weight[labels.where(counted, 0)]
                loss, count = loss * class_weight, count * class_weight
            if weight is not None:
                loss = loss * weight.float()
            if reduction != "none":
                loss = loss.sum()
            if reduction == "mean":
                loss = loss / (self._number(loss, count) if avg_factor is None else avg_factor)
            return self.loss_weight * loss

    def _number(self, total: Tensor, count: Tensor) -> float | Tensor:
        """Return the number of pixels in the mean."""
        if not self.avg_non_ignore:
            return count.numel()
        number = count.sum()
        if total.requires_grad and get_world_size() > 1:
            all_reduce(number, "mean")
        # Where nothing counts the sum is zero, and the bound makes the quotient zero too.
        return number.clamp(min=1e-12)

    def _bad_labels(self, labels: Tensor, is_good: Tensor) -> list[int]:
        """Return the labels that are not good; on an accelerator their extremes, at intervals."""
        if torch.compiler.is_compiling() or labels.is_meta:
            return []
        if labels.device.type == "cpu":
            return [] if is_good.all() else labels[~is_good].unique().tolist()
        return self._extremes_at_intervals(labels.where(~is_good, 0))

    def _extremes_at_intervals(self, bad: Tensor) -> list[int]:
        """Gather the extremes on the device; read them first and every CHECK_INTERVAL steps.

        Zero stands for "nothing wrong": it is a class.
        """
        extremes = torch.stack(bad.aminmax())
        if self._extremes is not None:
            extremes = torch.stack(torch.cat((extremes, self._extremes)).aminmax())
        self._steps += 1
        if self._steps % self.CHECK_INTERVAL != 1:
            self._extremes = extremes
            return []
        self._extremes = None
        return sorted({*extremes.tolist()} - {0})


def _check_reduction(reduction: str) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise UserInputError(f"reduction {reduction!r} is not one of 'mean', 'sum', 'none'.")
