"""PyTorch modules come back bit for bit, without pickle; what cannot be stored is refused. Run by `make torch`."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.docs.page import run_page

import backstory
import torch
from backstory.errors import ModelError
from backstory.models import capture_artifact, container, load_artifact
from backstory.models.container import Container
from backstory.models.torch_trust import reviewed_classes
from torch import nn

ROWS = np.random.default_rng(5).normal(size=(64, 6)).astype(np.float32)
FEATURES = torch.from_numpy(ROWS)


class Gate(nn.Module):
    """A module of one's own: two branches that share their first layer, and a number."""

    def __init__(self):
        """Make the parts."""
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.same = self.first
        self.head = nn.Linear(8, 1, bias=False)
        self.scale = 0.1
        self.register_buffer("shift", torch.full((1,), 0.5, dtype=torch.float64), persistent=False)

    def forward(self, rows):
        """Add both branches up."""
        return self.head(torch.relu(self.first(rows)) + self.same(rows) * self.scale) + self.shift.float()


NAME = f"{Gate.__module__}.{Gate.__qualname__}"


def network():
    """Return a network with everything usual in it, as after training."""
    torch.manual_seed(3)
    made = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2))
    made(FEATURES)  # in training mode: the batch norm has seen rows
    return made.eval()


def outputs(module, rows=FEATURES):
    """Return what a module gives, as bytes."""
    with torch.no_grad():
        return module(rows).numpy().tobytes()


def again(module, trusted=()):
    """Capture a module and load it."""
    artifact = capture_artifact(module, trusted=trusted)
    return load_artifact(artifact.format, artifact.data, trusted=trusted)


def changed(module, change):
    """Return the artifact of a module with another structure."""
    parts = container.parse(capture_artifact(module).data)
    tree = json.loads(parts.state["tree"])
    change(tree)
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    state = {**parts.state, "tree": text}
    return container.encode(Container(class_name=parts.class_name, params={}, state=state, body=parts.body))


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """An archive with a network and its predictions."""
    with backstory.init(tmp_path_factory.mktemp("torch") / "audit", origin="example.org/torch") as made:
        yield made


@pytest.fixture(scope="module")
def version(archive):
    """The network, registered."""
    return archive.register(network(), name="network")


def test_class_that_goes_by_anothers_name_is_refused():
    """Only what can be imported by a name is loaded by it: another class would be another model then."""
    pretender = type("Linear", (nn.Linear,), {"forward": lambda self, rows: 0 * nn.Linear.forward(self, rows)})
    pretender.__module__ = nn.Linear.__module__
    with pytest.raises(ModelError, match="got another"):
        capture_artifact(pretender(6, 1).eval())


def test_module_comes_back_bit_for_bit():
    """A stored module gives the bits of the one it was made of."""
    assert outputs(again(network())) == outputs(network())


def test_state_comes_back_exactly():
    """Every tensor, its type and whether it is trained are as they were."""
    one, other = network(), again(network())
    assert [(k, v.dtype, v.numpy().tobytes()) for k, v in one.state_dict().items()] == [
        (k, v.dtype, v.numpy().tobytes()) for k, v in other.state_dict().items()
    ]
    assert [p.requires_grad for p in one.parameters()] == [p.requires_grad for p in other.parameters()]


@pytest.mark.parametrize("name", sorted(reviewed_classes()))
def test_attributes_of_reviewed_class_come_back(name):
    """A module of a reviewed class has the attributes it had."""
    owner = reviewed_classes()[name]
    tried = ((), (4,), (4, 4), (4, 4, 4), (1, 4), ([4, 4],), (4, (2, 2)))
    module = next(made for made in (_made(owner, arguments) for arguments in tried) if made is not None).eval()
    plain = {key for key, value in vars(module).items() if not key.startswith("_") or isinstance(value, bool | list)}
    loaded = vars(again(module))
    assert {key: loaded[key] for key in plain} == {key: vars(module)[key] for key in plain}


def _made(owner, arguments):
    try:
        return owner(*arguments)
    except TypeError:
        return None


def test_own_class_needs_trust():
    """A class nobody has reviewed is named in the refusal, and stored for whoever trusts it."""
    with pytest.raises(ModelError, match="Gate") as refused:
        capture_artifact(Gate().eval())
    assert refused.value.details["types"] == [NAME]
    module = Gate().eval()
    assert outputs(again(module, [NAME])) == outputs(module)


def test_stored_own_class_needs_trust_again():
    """What was trusted when it was stored is not trusted by that when it is loaded."""
    artifact = capture_artifact(Gate().eval(), trusted=[NAME])
    assert artifact.trusted == (NAME,)
    with pytest.raises(ModelError, match="Gate"):
        load_artifact(artifact.format, artifact.data)


def test_other_code_of_own_class_is_refused(monkeypatch):
    """A module whose class was edited since is not loaded: it would be another model."""
    artifact = capture_artifact(Gate().eval(), trusted=[NAME])

    def forward(self, rows):
        return self.head(self.first(rows))

    edited = type("Gate", (Gate,), {"forward": forward, "__module__": Gate.__module__})
    monkeypatch.setattr(sys.modules[Gate.__module__], "Gate", edited)
    with pytest.raises(ModelError, match="code of"):
        load_artifact(artifact.format, artifact.data, trusted=[NAME])


def test_steps_are_the_modules():
    """A version tells the module's parts, outer before inner, with their plain attributes."""
    steps = capture_artifact(network()).steps
    assert [step["name"] for step in steps] == ["sequential", "0", "1", "2", "3", "4"]
    assert (steps[2]["params"]["eps"], steps[4]["params"]["p"]) == ("1e-05", "0.2")


def test_pickle_of_torch_stays_closed_until_it_is_named(archive, tmp_path):
    """What `torch.save` writes is a pickle, of whichever of its forms; named by its digest it is replayed elsewhere."""
    for name, is_zip in (("zip", True), ("old", False)):
        path = tmp_path / f"{name}.onnx"
        torch.save(network(), path, _use_new_zipfile_serialization=is_zip)
        version = archive.register(path, name=name)
        assert version.document["model"]["format"] == "pickle"
    version.estimator = network()
    prediction = archive.predict(version, ROWS, method="__call__").ids[0]
    assert archive.replay(prediction).verdict == "not-replayable"
    assert archive.replay(prediction, pickles=[hashlib.sha256(path.read_bytes()).hexdigest()]).verdict == "exact"


def test_shared_module_stays_shared():
    """A layer that stands in two places is one layer after loading."""
    loaded = again(Gate().eval(), [NAME])
    assert loaded.first is loaded.same


def test_tied_weights_stay_tied():
    """Two layers with one weight have one after loading."""
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    module[1].weight = module[0].weight
    loaded = again(module.eval())
    assert loaded[0].weight is loaded[1].weight
    assert loaded[0].bias is not loaded[1].bias


def test_two_captures_have_one_digest():
    """The same module twice, and a module and its copy, have one content digest and the same bytes."""
    one, other = capture_artifact(network()), capture_artifact(again(network()))
    assert (one.content_digest, one.data) == (other.content_digest, other.data)


def test_other_weights_have_another_digest():
    """A changed weight changes the content digest."""
    module = network()
    with torch.no_grad():
        module[0].weight[0, 0] += 1
    assert capture_artifact(module).content_digest != capture_artifact(network()).content_digest


def test_other_structure_has_another_digest():
    """A changed attribute changes the content digest, though all tensors are the same."""
    module = network()
    module[1].eps = 1e-3
    assert capture_artifact(module).content_digest != capture_artifact(network()).content_digest


def test_digest_and_outputs_are_the_same_in_another_process(tmp_path):
    """A process that loads the artifact gets the same bits, and captures the same digest."""
    artifact = capture_artifact(network())
    (tmp_path / "model").write_bytes(artifact.data)
    ROWS.tofile(tmp_path / "rows")
    program = """
        import sys, numpy as np, torch
        from backstory.models import capture_artifact, load_artifact
        model = load_artifact("torch-safetensors", open(sys.argv[1] + "/model", "rb").read())
        rows = torch.from_numpy(np.fromfile(sys.argv[1] + "/rows", np.float32).reshape(-1, 6))
        with torch.no_grad():
            print(capture_artifact(model).content_digest, model(rows).numpy().tobytes().hex())
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert said == [artifact.content_digest, outputs(network()).hex()]


def _hooked():
    module = nn.Linear(2, 2)
    module.register_forward_hook(lambda *_: None)
    return module


def _parametrized():
    return nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))


def _with(name, value):
    module = nn.Linear(2, 2)
    setattr(module, name, value)
    return module


def _sharing():
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    module[1].weight = nn.Parameter(module[0].weight.detach()[:])
    return module


def _strided():
    module = nn.Linear(2, 3)
    module.weight = nn.Parameter(torch.ones(2, 3).T)
    return module


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (_hooked, "forward hooks"),
        (_parametrized, "parametrized"),
        (lambda: _with("activation", torch.relu), "activation"),
        (lambda: _with("act", lambda x: x), "functions are not"),
        (lambda: _with("table", torch.ones(2)), "buffers"),
        (lambda: nn.LSTM(2, 2), "_flat_weight_refs"),
        (_sharing, "share memory"),
        (_strided, "contiguous"),
        (lambda: nn.Linear(2, 2, device="meta"), "processor"),
        (lambda: nn.LazyLinear(2), "cannot be stored|reviewed"),
    ],
    ids=lambda value: "" if callable(value) else value,
)
def test_what_has_no_stored_form_is_refused(module, words):
    """Hooks, functions, loose tensors, views and parameters that are not there yet are refused by name."""
    with pytest.raises(ModelError, match=words):
        capture_artifact(module().eval())


def test_training_mode_is_refused():
    """A module in training mode gives other outputs each time, or changes: it is refused, and the place named."""
    module = network()
    module[3].train()
    with pytest.raises(ModelError, match=r"3 \(Dropout\) in training mode; call .eval\(\)"):
        capture_artifact(module)


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "torch.nn.modules.module.Module", "torch.load"])
def test_class_that_is_not_listed_is_refused(name):
    """A file that names something else than a reviewed class is refused before anything is made of it."""
    data = changed(network(), lambda tree: tree.update({"class": name}))
    with pytest.raises(ModelError, match=name):
        load_artifact("torch-safetensors", data)


@pytest.mark.parametrize("name", ["os.system", "subprocess.Popen", "builtins.eval"])
def test_trusted_name_that_is_no_module_is_refused(name):
    """Trust in a name makes no module of a function."""
    data = changed(network(), lambda tree: tree.update({"class": name}))
    with pytest.raises(ModelError, match="class of PyTorch modules"):
        load_artifact("torch-safetensors", data, trusted=[name])


@pytest.mark.parametrize(
    "name", ["forward", "__class__", "__dict__", "_forward_hooks", "_call_impl", "_compiled_call_impl", "training", ""]
)
@pytest.mark.parametrize("kind", ["attributes", "buffers", "parameters", "modules"])
def test_name_that_stands_for_code_is_refused(name, kind):
    """No attribute, tensor or inner module can take the place of something every module has."""

    def change(tree):
        more = {"attributes": "x", "buffers": [name, None, True], "parameters": [name, None, True]}
        if kind == "attributes":
            tree[kind][name] = more[kind]
        else:
            tree[kind].append(more.get(kind, [name, None]))

    with pytest.raises(ModelError, match="cannot be read"):
        load_artifact("torch-safetensors", changed(network(), change))


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: tree.pop("modules"),
        lambda tree: tree["modules"].append(["x", {"same": "nowhere"}]),
        lambda tree: tree["modules"].append(["x", []]),
        lambda tree: tree["buffers"].append(["x", "nowhere", True]),
        lambda tree: tree["attributes"].update({"x": {"unknown": 1}}),
        lambda tree: tree.update({"class": 3}),
    ],
)
def test_damaged_structure_is_refused(change):
    """A structure that does not fit is refused, whatever is wrong."""
    with pytest.raises(ModelError, match="cannot be read"):
        load_artifact("torch-safetensors", changed(network(), change))


def test_damaged_tensors_are_refused():
    """Bytes that are no safetensors are refused."""
    data = capture_artifact(network()).data
    with pytest.raises(ModelError, match="not a PyTorch module"):
        load_artifact("torch-safetensors", data[:-8])


@pytest.mark.parametrize("given", [ROWS, FEATURES, pd.DataFrame(ROWS)], ids=["array", "tensor", "frame"])
def test_prediction_is_what_the_module_gives(archive, version, given):
    """A recorded call takes arrays, tensors and frames, and returns the module's own tensor."""
    frame = given.rename(columns=str) if isinstance(given, pd.DataFrame) else given
    output = archive.predict(version, frame, method="__call__").output
    assert (type(output), output.requires_grad) == (torch.Tensor, False)
    assert output.numpy().tobytes() == outputs(network())


@pytest.mark.parametrize("method", ["__call__", "forward"])
def test_replay_is_exact(archive, version, method):
    """The recorded outputs come out again to the bit."""
    ids = archive.predict(version, ROWS, method=method).ids
    assert archive.replay(ids[7]).verdict == "exact"


def test_version_is_called_as_the_module_is(archive, version):
    """A registered version stands where the module stood, and records."""
    before = archive.metrics().records_total
    assert outputs(network()) == version(FEATURES).numpy().tobytes()
    assert archive.metrics().records_total == before + len(ROWS)


def test_page_runs_as_printed(tmp_path, monkeypatch):
    """The part of the page about PyTorch, which the other tests of pages cannot run, gives what it says."""
    text = (Path(__file__).parents[2] / "docs" / "how-to" / "use-with-onnx-pytorch.md").read_text("utf-8")
    page = tmp_path / "page.md"
    page.write_text(text.partition("## PyTorch")[2].replace("```text", "```python"), "utf-8")
    monkeypatch.chdir(tmp_path)
    run_page(page, tmp_path)
