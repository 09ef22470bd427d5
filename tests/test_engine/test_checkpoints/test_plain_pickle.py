"""Pickles made of the allowed names and operations in any order never run code.

WAVEMIX_MM_FUZZ_EXAMPLES=10000 in the environment takes so many.
"""

import os
import warnings

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.infer import BaseInferencer
from mmengine.logging import MessageHub
from test_torch_files import int_, name, storage, text, write

from wavemix_mm.engine.checkpoints.loading import read_checkpoint
from wavemix_mm.engine.checkpoints.safe_globals import HISTORY, MAKERS
from wavemix_mm.errors import UserInputError

EXAMPLES = int(os.environ.get("WAVEMIX_MM_FUZZ_EXAMPLES", 300))
NAMES = [
    *MAKERS, HISTORY, "builtins.getattr", "numpy.ndarray", "torch.Tensor", "torch.FloatStorage",
    "torch.nn.parameter.Parameter", "builtins.exec", "builtins.eval", "os.system",
]  # fmt: skip
KEYS = ["meta", "message_hub", "runtime_info", "cfg", "config", "get", "pop", "_metadata", "items"]


class Inferencer(BaseInferencer):
    _init_pipeline = visualize = postprocess = lambda *_: None


def operations(code):
    """Parts of a pickle; texts among them would make a file if anything executed them."""
    memo = st.integers(0, 9)
    key = st.sampled_from([*KEYS, "a", code]).map(text)
    planted = st.tuples(key, st.sampled_from(NAMES)).map(
        lambda pair: b"}" + pair[0] + name(pair[1]) + b"sb"
    )
    config = st.sampled_from(["cfg", "config"]).map(lambda at: b"}" + text(at) + text(code) + b"s")
    return st.one_of(
        st.sampled_from([bytes([each]) for each in b"R\x81bsuae(t)\x85\x86\x87]}N\x88Q"]),
        st.just(storage(16)),
        st.sampled_from(NAMES).map(name),
        st.just(name("collections.OrderedDict") + b")R"),
        memo.map(lambda place: b"q" + bytes([place])),
        memo.map(lambda place: b"h" + bytes([place])),
        st.integers(-5, 1 << 70).map(int_),
        key, planted, config,
        st.just(text(code) + text("latin1") + b"\x86"),
    )  # fmt: skip


def checkpoint(code):
    """A checkpoint with the operations in it, each part perhaps of a planted OrderedDict."""
    part = st.lists(operations(code), max_size=4).map(b"".join)
    mapping = st.sampled_from([b"}", name("collections.OrderedDict") + b")R"])
    entry = text(code) + b"s"
    info = text("runtime_info") + b"}" + text("cfg") + entry + b"s"
    config = text("config") + entry + text("cfg") + entry

    def filled(content):
        return st.tuples(mapping, part).map(lambda drawn: drawn[0] + content + drawn[1])

    return st.tuples(mapping, filled(info), filled(config), part).map(
        lambda drawn: drawn[0] + text("state_dict") + b"}s" + text("message_hub") + drawn[1] + b"s"
        + text("meta") + drawn[2] + b"s" + drawn[3]
    )  # fmt: skip


def test_no_code_runs(tmp_path):
    marker = tmp_path / "marker"
    code = f"open({str(marker)!r}, 'w').close()\nmodel = dict(type='Line')"
    path = tmp_path / "a.pth"
    read = 0

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(checkpoint(code))
    def run(data):
        nonlocal read
        try:
            content = read_checkpoint(str(write(path, data)))
        except UserInputError as error:
            assert str(error).startswith(f"checkpoint {path} ")
            assert not marker.exists()
            return
        read += 1
        assert code not in repr([content[key] for key in content if key in ("meta", "message_hub")])
        hub = MessageHub("fuzz")
        if "message_hub" in content:
            hub.load_state_dict(content["message_hub"])
        try:
            Inferencer(weights=str(path))
        except UserInputError as error:
            assert "name the config" in str(error)
        assert not marker.exists()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run()
    print(f"{read} of {EXAMPLES} were read")
    assert read > EXAMPLES / 50
