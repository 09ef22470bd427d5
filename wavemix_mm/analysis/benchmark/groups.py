"""What is compared with what, and how much is measured of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from wavemix_mm.analysis.benchmark import cost
from wavemix_mm.analysis.benchmark.candidates import Candidate
from wavemix_mm.analysis.benchmark.models import build_model
from wavemix_mm.analysis.benchmark.specs import Spec, parse_spec


@dataclass(frozen=True)
class Settings:
    """How much is measured, and how.

    Attributes:
        batch: Images of a call for inference.
        train_batch: Images of a training step; 0 leaves training out.
        rounds: Rounds of each comparison.
        round_seconds: What one candidate's part of a round should take.
        warmup: Calls of each candidate that are not counted.
        with_memory: Measure the peak of memory.
        budget: Bytes for which the largest batch is looked for; None leaves it out.
        threads: Threads that torch computes with.
        ceilings: Multiply-adds a second of a matrix product for each dtype.
    """

    batch: int = 1
    train_batch: int = 2
    rounds: int = 20
    round_seconds: float = 0.2
    warmup: int = 2
    with_memory: bool = True
    budget: int | None = None
    threads: int = 1
    ceilings: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """A model of which it is known that it can be built.

    Attributes:
        spec: What names it.
        size: (H, W) of the images.
        parameters: Number of them.
        can_deploy: Whether it has something that can be folded.
        is_authors: Whether it is the authors' own code.
        depth: Number of blocks, where it says so.
    """

    spec: Spec
    size: tuple[int, int]
    parameters: int
    can_deploy: bool
    is_authors: bool
    depth: int | None


@dataclass(frozen=True)
class Group:
    """Candidates that are compared with each other; the first is the reference.

    Attributes:
        members: Each with the model that it runs.
        has_equal_weights: The first is the authors' network, whose weights all others get, and
            whose output they must give.
    """

    members: Sequence[tuple[Subject, Candidate]]
    has_equal_weights: bool = False

    @property
    def name(self) -> str:
        """Name of the model that is compared: the last."""
        return self.members[-1][0].spec.name


def inspect(spec: Spec, size: tuple[int, int] | None) -> Subject:
    """Build a model once, to know before a long run that it can be.

    Args:
        spec: The model.
        size: (H, W) of the images; None for what its config says.

    Raises:
        UserInputError: If it cannot be built.
    """
    logits = build_model(spec)
    depth = getattr(getattr(logits.network, "backbone", None), "depth", None)
    return Subject(
        spec,
        size or logits.image_size,
        cost.count_parameters(logits),
        any(hasattr(module, "switch_to_deploy") for module in logits.modules()),
        logits.is_authors,
        depth if isinstance(depth, int) else None,
    )


@dataclass(frozen=True)
class Ways:
    """All the ways in which each model is run.

    Attributes:
        dtypes: See Candidate.
        modes: See Candidate; one that folds is left out for a model that has nothing to fold.
        channels_last: None for channels_last, but the authors' code as it is shipped.
        template: A candidate with the other settings.
    """

    dtypes: Sequence[str]
    modes: Sequence[str]
    channels_last: bool | None
    template: Candidate

    def of(
        self, subject: Subject, dtypes: Sequence[str], modes: Sequence[str]
    ) -> Iterator[tuple[Subject, Candidate]]:
        """Yield the members of a group for one model."""
        if not subject.can_deploy:
            unfolded = (mode.replace("deploy+", "").replace("deploy", "eager") for mode in modes)
            modes = list(dict.fromkeys(unfolded))
        layout = not subject.is_authors if self.channels_last is None else self.channels_last
        for dtype, mode in itertools.product(dtypes, modes):
            yield (
                subject,
                replace(
                    self.template,
                    spec=subject.spec.text,
                    dtype=dtype,
                    mode=mode,
                    channels_last=layout,
                ),
            )


def make_groups(
    subjects: Sequence[Subject],
    ways: Ways,
    counterparts: Sequence[Subject] | None = None,
    against: Subject | None = None,
) -> list[Group]:
    """Make a group of each model.

    Args:
        subjects: The models.
        ways: How each is run.
        counterparts: Of each model, the authors' network of its architecture: the reference, with
            equal weights, in float32 and in the other types, as it is shipped.
        against: A model that is the reference of every group.
    """
    groups = []
    for i, subject in enumerate(subjects):
        members = list(ways.of(subject, ways.dtypes, ways.modes))
        first: list[tuple[Subject, Candidate]] = []
        if counterparts is not None:
            dtypes = list(dict.fromkeys(["float32", *ways.dtypes]))
            first = list(ways.of(counterparts[i], dtypes, ["eager"]))
        elif against is not None and against.spec != subject.spec:
            first = list(ways.of(against, ways.dtypes, ways.modes))
        groups.append(Group(first + members, counterparts is not None))
    return groups


def counterpart(subject: Subject) -> Subject:
    """The authors' network of a model's architecture.

    Raises:
        UserInputError: If there is none.
    """
    return inspect(parse_spec(f"official:{subject.spec.text}"), subject.size)
