"""Parse and check the arguments of the network."""

from __future__ import annotations

import re
from collections.abc import Sequence

from wavemix_mm.errors import UserInputError


def parse_arch(arch: str) -> tuple[int, int, int]:
    """Return embed_dims, depth and levels that 'C/D-lL' or 'lite-C/D' (one level) names.

    Raises:
        UserInputError: If it cannot be read; the message names the nearest that can.
    """
    numbers = re.findall(r"\d+", str(arch))
    spellings = {2: "lite-{}/{}", 3: "{}/{}-l{}"}
    near = spellings.get(len(numbers), "").format(*numbers)
    if near and arch == near:
        embed_dims, depth, *levels = map(int, numbers)
        return embed_dims, depth, levels[0] if levels else 1
    hint = f"did you mean {near}?" if near else "examples are 256/16-l4, 192/16-l3, lite-128/8."
    raise UserInputError(
        f"arch {arch!r} is neither 'C/D-lL' (channels, depth, levels) nor 'lite-C/D' (one level); "
        + hint
    )


def normalize_levels(levels: int | Sequence[int]) -> tuple[int, ...]:
    """Turn the ``levels`` argument into the ascending tuple of levels used.

    Raises:
        UserInputError: If it is neither an int nor a sequence of ints, is empty, or names a level
            below 1 or one level twice.
    """
    named = range(1, levels + 1) if isinstance(levels, int) else levels
    is_sequence = isinstance(named, Sequence) and all(isinstance(level, int) for level in named)
    used = tuple(sorted(named)) if is_sequence else ()
    if not used or used[0] < 1 or len(set(used)) < len(used):
        raise UserInputError(
            f"levels={levels!r} does not name at least one level, each an integer of 1 or more "
            "and none twice."
        )
    return used


def check_embed_dims(embed_dims: int) -> None:
    """Raise UserInputError unless ``embed_dims`` is a positive multiple of 4."""
    if embed_dims <= 0 or embed_dims % 4:
        raise UserInputError(
            f"embed_dims={embed_dims} is not a positive multiple of 4, as Eq. 1 needs (C/4)."
        )


def resolve_out_indices(out_indices: int | Sequence[int], depth: int) -> tuple[int, ...]:
    """Turn the ``out_indices`` argument into indices from 0 to depth - 1.

    Raises:
        UserInputError: If it names no block, one beyond the depth, or is not ascending.
    """
    indices = (out_indices,) if isinstance(out_indices, int) else tuple(out_indices)
    resolved = tuple(i + depth if i < 0 else i for i in indices)
    if not resolved or not all(0 <= i < depth for i in resolved):
        raise UserInputError(
            f"out_indices={out_indices!r} does not name blocks of a network of depth {depth}."
        )
    if list(resolved) != sorted(set(resolved)):
        raise UserInputError(f"out_indices={out_indices!r} is not strictly ascending.")
    return resolved
