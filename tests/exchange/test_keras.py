"""Importing Keras checkpoints: small files written here from a random network, layer by layer as Keras would."""

import base64
import json
import marshal
from collections import Counter

import h5py
import numpy as np
import pytest
import torch

from rescrnet import load
from rescrnet.errors import ModelError, OutputError, UsageError
from rescrnet.exchange import keras
from rescrnet.exchange.keras import import_keras, load_keras
from rescrnet.model import ImportedFrom
from rescrnet.nn.network import ResCRNet
from rescrnet.nn.variants import dropouts

SMALL = {"n": 3, "m": 1, "filters": 2}


class KerasFile:
    """A Keras model of a :class:`ResCRNet`, in the order in which the authors' program creates its layers."""

    def __init__(self, network, offset=0, operations="TFOpLambda"):
        self.network, self.state = network, {key: value.numpy() for key, value in network.state_dict().items()}
        self.layers, self.weights = [], {}
        types = ("separable_conv2d", "conv2d", "batch_normalization", "bidirectional", "leaky_re_lu", "add")
        self.created = Counter(dict.fromkeys(types, offset))  # Keras counts on in a session
        self.operations = operations
        x = self.add("InputLayer", "input", [], batch_input_shape=[None, 20, 30, network.in_channels])
        self.head(self.body(x))

    def add(self, kind, stem, inputs, arrays=None, arguments=None, **settings):
        number = self.created[stem]
        self.created[stem] += 1
        name = f"{stem}_{number}" if number else stem
        references = [[one, 0, 0, {}] for one in inputs]
        nodes = [[inputs[0], 0, 0, arguments]] if arguments is not None else [references] if inputs else []
        config = {"name": name, **settings}
        self.layers.append({"class_name": kind, "name": name, "config": config, "inbound_nodes": nodes})
        if arrays is not None:
            self.weights[name] = arrays
        return name

    def operation(self, function, x, **arguments):
        if self.operations == "TFOpLambda":
            return self.add("TFOpLambda", f"tf.{function}", [x], arguments=arguments, function=function)
        node = {"compat.v1.transpose": "Transpose", "math.reduce_sum": "Sum", "expand_dims": "ExpandDims"}[function]
        return self.add("TensorFlowOpLayer", f"tf_op_layer_{node}", [x], node_def=f'{{"op": "{node}"}}')

    def conv(self, x, ours):
        kernel, bias = self.state[f"{ours}.weight"].transpose(2, 3, 1, 0), self.state[f"{ours}.bias"]
        arrays = {"kernel": kernel, "bias": bias}
        return self.add("Conv2D", "conv2d", [x], arrays, filters=len(bias), kernel_size=[1, 1], activation="linear")

    def norm(self, x, ours):
        names = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
        arrays = {keras: self.state[f"{ours}.{name}"] for keras, name in names.items()}
        return self.add("BatchNormalization", "batch_normalization", [x], arrays, axis=[3], epsilon=1e-3)

    def leaky(self, x):
        return self.add("LeakyReLU", "leaky_re_lu", [x], alpha=0.10000000149011612)

    def separable(self, x, ours, dilation):
        kernel, bias = self.state[f"{ours}.depthwise"].transpose(2, 3, 0, 1), self.state[f"{ours}.pointwise.bias"]
        arrays = {"depthwise_kernel": kernel, "bias": bias}
        arrays["pointwise_kernel"] = self.state[f"{ours}.pointwise.weight"].transpose(2, 3, 1, 0)
        settings = {"filters": len(bias), "kernel_size": [len(kernel)] * 2, "dilation_rate": [dilation] * 2}
        return self.add("SeparableConv2D", "separable_conv2d", [x], arrays, padding="same", **settings)

    def block(self, x, index):
        ours, config = f"blocks.{index}", self.network.config
        activated = self.leaky(self.norm(x, f"{ours}.activation.0")) if index else x
        branches = []
        for branch, dilation in enumerate(config.per_block("dilations")[index]):
            first = self.separable(activated, f"{ours}.branches.{branch}.0", dilation)
            middle = self.leaky(self.norm(first, f"{ours}.branches.{branch}.1"))
            branches.append(self.separable(middle, f"{ours}.branches.{branch}.3", dilation))
        shortcut = self.norm(self.conv(x, f"{ours}.shortcut.0"), f"{ours}.shortcut.1")
        if config.merge == "concatenate" and len(branches) > 1:
            branches = [self.add("Concatenate", "concatenate", branches, axis=-1)]
        return self.add("Add", "add", [shortcut, *branches])

    def drop(self, x, index):
        rate = dropouts(self.network.config)[index]
        return self.add("SpatialDropout2D", "spatial_dropout2d", [x], rate=rate) if rate else x

    def body(self, x):
        name, n = self.network.config.architecture, self.network.config.n
        outputs = [self.drop(self.block(x, 0), 0)]
        for index in range(1, n):
            new = self.drop(self.block(outputs[-1], index), index)
            if name == "very-dense":
                new = self.add("Add", "add", [*outputs, new])
            elif name == "dense" and index == 2:  # the sum of two, then added by an operation
                total = self.add("Add", "add", outputs)
                new = self.plus(new, [total, 0, 0])
            elif name == "dense" and index > 2:
                new = self.plus(new, [self.plus(outputs[-1], 0), 0, 0])
            outputs.append(new)
        return outputs[-1]

    def plus(self, x, y):
        arguments = {"y": y, "name": None}
        return self.add("TFOpLambda", "tf.__operators__.add", [x], arguments=arguments, function="__operators__.add")

    def lstm(self, x, ours):
        name, order = f"bidirectional_{self.created['bidirectional']}", [0, 1, 3, 2]  # i, f, o, g → i, f, c, o
        arrays = {}
        for direction, prefix in enumerate(["forward", "backward"]):
            for theirs, kernel in (("kernel", "input_kernel"), ("recurrent_kernel", "recurrent_kernel")):
                gates = [self.state[f"{ours}.{kernel}"][direction, gate].transpose(2, 3, 1, 0) for gate in order]
                arrays[f"{prefix}_{name}/{theirs}"] = np.concatenate(gates, axis=-1)
            arrays[f"{prefix}_{name}/bias"] = self.state[f"{ours}.bias"][direction, order].reshape(-1)
        config = self.network.config
        inner = {"filters": config.lstm_filters, "recurrent_dropout": config.recurrent_dropout, "padding": "same"}
        layer = {"class_name": "ConvLSTM2D", "config": {**inner, "recurrent_activation": "hard_sigmoid"}}
        return self.add("Bidirectional", "bidirectional", [x], arrays, layer=layer, merge_mode="concat")

    def head(self, x):
        turn = {"perm": [0, 2, 1, 3, 4]}
        for index in range(self.network.config.m):
            x = self.leaky(self.conv(x, f"head.{index}.project.0"))
            self.created["conv2d"] += 1  # the shortcut that the authors' program creates and leaves unused
            expanded = self.operation("expand_dims", x, axis=-1)
            rows = self.lstm(expanded, f"head.{index}.rows")
            columns = self.lstm(self.operation("compat.v1.transpose", expanded, **turn), f"head.{index}.columns")
            total = self.add("Add", "add", [rows, self.operation("compat.v1.transpose", columns, **turn)])
            x = self.add("Add", "add", [x, self.operation("math.reduce_sum", total, axis=-1)])
        if self.network.config.m == 0:
            x = self.leaky(self.conv(x, "head.0"))
        self.add("Activation", "softmax", [x], activation="softmax")

    def layer(self, name):
        return next(layer for layer in self.layers if layer["name"] == name)

    def json(self):
        return json.dumps({"class_name": "Functional", "config": {"name": "Res-CR-Net", "layers": self.layers}})

    def write(self, folder, full=False):
        """``weights.h5`` and ``architecture.json``; with ``full`` both in the former, as a full model."""
        (folder / "architecture.json").write_text(self.json())
        with h5py.File(folder / "weights.h5", "w") as file:
            group = file.create_group("model_weights") if full else file
            if full:
                file.attrs["model_config"] = self.json()
            # Keras lists layers by depth; backwards is neither that nor the order of creation
            names = [layer["name"] for layer in reversed(self.layers)]
            group.attrs["layer_names"] = np.array(names, dtype="S")
            for name in names:
                arrays = {f"{name}/{key}:0": array for key, array in self.weights.get(name, {}).items()}
                stored = group.create_group(name)
                stored.attrs["weight_names"] = list(arrays)
                for key, array in arrays.items():
                    stored[key] = array
        return folder / "weights.h5"


def random_network(in_channels=1, classes=3, **settings):
    """A network in which every weight and running statistic matters."""
    torch.manual_seed(0)
    network = ResCRNet(in_channels, classes, **{**SMALL, **settings}).eval()
    with torch.no_grad():
        for key, value in network.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.rand_like(value) + 0.5 if "running_var" in key else torch.randn_like(value) * 0.3)
    return network


def assert_same(found, network):
    image = torch.rand(1, network.in_channels, 9, 11)
    assert not found.training
    torch.testing.assert_close(found(image), network(image), rtol=0, atol=0)


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small wait for their threads more than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def file():
    return KerasFile(random_network())


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"classes": 4, "in_channels": 3, "m": 2, "lstm_filters": 2, "dropout": 0.1, "recurrent_dropout": 0.2},
        {"m": 0, "n": 1},
        {"merge": "sum", "n": 2},
        {"kernel_sizes": [3, 9], "dilations": [2, 4]},
        {"kernel_sizes": [5], "dilations": [2]},
        {"n": 2, "filters": [2, 3], "kernel_sizes": [[3], [5, 3]], "dilations": [[1], [2, 3]]},
        {"m": 0, "dropout": [0.05, 0.05, 0]},  # the authors' later models of lungs
        {"m": 0, "n": 6, "dropout": [0.05] * 5 + [0], "in_channels": 3},
        {"dropout": [0, 0.1, 0.2]},
        {"dropout": 0},
        {"architecture": "very-dense", "dropout": [0.1, 0, 0.1]},
        *({"architecture": name, "n": n} for name in ("res-cr-net", "dense", "very-dense") for n in (2, 3, 5)),
    ],
    ids=str,
)
def test_the_network_is_read_from_the_file(tmp_path, settings, full):
    network = random_network(**settings)
    file = KerasFile(network, offset=37).write(tmp_path, full)
    found = load_keras(file, None if full else tmp_path / "architecture.json")
    assert found.config == network.config
    assert (found.in_channels, found.classes) == (network.in_channels, network.classes)
    assert_same(found, network)


@pytest.mark.parametrize("offset", [0, 9])
@pytest.mark.parametrize(
    "settings",
    [
        {"n": 6},
        {"merge": "sum", "classes": 4, "m": 2, "lstm_filters": 2, "in_channels": 3},
        {"n": 1, "m": 0},
        {"filters": [2, 3, 2], "kernel_sizes": [3, 9, 5]},
    ],
    ids=str,
)
def test_weights_alone_tell_the_network_by_names_and_shapes(tmp_path, settings, offset):
    network = random_network(**settings)
    found = load_keras(KerasFile(network, offset).write(tmp_path))
    assert found.config == network.config
    assert_same(found, network)


@pytest.mark.parametrize("name", ["dense", "very-dense"])
def test_the_variant_of_weights_alone_is_asked_for(tmp_path, name):
    network = random_network(architecture=name)
    file = KerasFile(network).write(tmp_path)
    assert load_keras(file).config.architecture == "res-cr-net"
    assert_same(load_keras(file, variant=name), network)
    with pytest.raises(UsageError, match=r"variant 'res-cr-net': .*architecture\.json holds a '"):
        load_keras(file, tmp_path / "architecture.json", variant="res-cr-net")


def test_names_cut_to_fit_into_hdf5_are_joined(tmp_path, file):
    path = file.write(tmp_path)
    with h5py.File(path, "a") as stored:
        names = stored.attrs["layer_names"]
        del stored.attrs["layer_names"]
        stored.attrs["layer_names0"], stored.attrs["layer_names1"] = names[:20], names[20:]
    assert_same(load_keras(path), file.network)


def test_operations_of_older_tensorflow_are_read(tmp_path):
    file = KerasFile(random_network(), operations="TensorFlowOpLayer")
    assert_same(load_keras(file.write(tmp_path, full=True)), file.network)


def put_code(file, name, target):
    """Make a layer a Lambda layer, with marshalled code that leaves a file behind when it is run."""
    code = marshal.dumps(compile(f"open({str(target)!r}, 'w').close()", "lambda", "exec"))
    text = base64.b64encode(code).decode()
    layer = file.layer(name)
    layer["class_name"] = "Lambda"
    layer["config"] = {"name": name, "function": [text, None, None], "function_type": "lambda", "arguments": {}}
    return code


@pytest.mark.parametrize("full", [False, True])
def test_a_lambda_layer_is_accepted_and_never_run(tmp_path, file, full):
    target = tmp_path / "executed"
    code = put_code(file, "tf.expand_dims", target)
    found = load_keras(file.write(tmp_path, full), None if full else tmp_path / "architecture.json")
    assert_same(found, file.network)
    assert not target.exists()
    exec(marshal.loads(code))
    assert target.exists(), "the code of this test must leave a trace when it is run"


def test_a_lambda_layer_elsewhere_is_refused(tmp_path, file):
    put_code(file, "tf.math.reduce_sum", tmp_path / "executed")
    with pytest.raises(ModelError, match=r"layer 'add_4' .* is out of place; expected LeakyReLU"):
        load_keras(file.write(tmp_path, full=True))
    assert not (tmp_path / "executed").exists()


def test_a_checkpoint_becomes_a_model_file(tmp_path, file):
    out = tmp_path / "model.safetensors"
    names = ["background", "membrane", "mitochondrion"]
    import_keras(file.write(tmp_path), out, tmp_path / "architecture.json", names)
    model = load(out)
    assert model.classes == names
    assert [entry.value for entry in model.card.classes] == [0, 1, 2]
    assert len(set(model.colours)) == 3
    assert model.card.intensity.method == "unit"
    assert model.card.provenance == ImportedFrom(imported_from="weights.h5", architecture="architecture.json")
    image = np.arange(80, dtype=np.uint8).reshape(8, 10)
    expected = file.network(torch.from_numpy(image / 255).float()[None, None]).softmax(1)[0]
    np.testing.assert_allclose(model.predict(image), expected.detach().numpy(), atol=1e-6)


def test_classes_without_names_are_numbered(tmp_path, file):
    assert import_keras(file.write(tmp_path), tmp_path / "out").classes == ["class 0", "class 1", "class 2"]


def test_an_existing_file_is_not_replaced(tmp_path, file):
    (tmp_path / "out").write_text("precious")
    with pytest.raises(OutputError, match="out: exists"):
        import_keras(file.write(tmp_path), tmp_path / "out")
    assert (tmp_path / "out").read_text() == "precious"


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path, file, monkeypatch):
    save = keras.SegmentationModel.save

    def save_late(model, path, **how):
        path.write_text("precious")
        save(model, path, **how)

    monkeypatch.setattr(keras.SegmentationModel, "save", save_late)
    with pytest.raises(OutputError, match="out: exists already"):
        import_keras(file.write(tmp_path), tmp_path / "out")
    assert (tmp_path / "out").read_text() == "precious"


def test_weights_that_are_no_numbers_are_refused(tmp_path, file):
    next(iter(file.weights.values())).update(
        {key: array * np.nan for key, array in next(iter(file.weights.values())).items()}
    )
    with pytest.raises(ModelError, match="has weights that are NaN or infinite"):
        import_keras(file.write(tmp_path), tmp_path / "out", tmp_path / "architecture.json")


def test_the_number_of_class_names_must_fit(tmp_path, file):
    with pytest.raises(UsageError, match=r"classes: 2 names \(a, b\) for a network of 3 classes"):
        import_keras(file.write(tmp_path), tmp_path / "out", classes=["a", "b"])
    assert not (tmp_path / "out").exists()


def test_a_missing_file_is_named(tmp_path, file):
    with pytest.raises(ModelError, match=r"nothing\.h5: no such file"):
        load_keras(tmp_path / "nothing.h5")
    with pytest.raises(ModelError, match=r"nothing\.json: cannot be read"):
        load_keras(file.write(tmp_path), tmp_path / "nothing.json")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip file", b"\x89HDF\r\n\x1a\n cut short"])
def test_a_file_that_is_not_hdf5_is_refused(tmp_path, content):
    (tmp_path / "weights.h5").write_bytes(content)
    with pytest.raises(ModelError, match=r"weights\.h5: is not HDF5 or is damaged .*; expected what Keras 2 saves"):
        load_keras(tmp_path / "weights.h5")


def test_hdf5_without_layers_is_refused(tmp_path):
    with h5py.File(tmp_path / "weights.h5", "w") as stored:
        stored["image"] = np.zeros(3)
    with pytest.raises(ModelError, match=r"weights\.h5: holds no Keras layers"):
        load_keras(tmp_path / "weights.h5")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"config": {"layers": [1]}}', "[" * 100_000])
def test_a_text_that_is_not_a_keras_model_is_refused(tmp_path, file, text):
    path = file.write(tmp_path)
    (tmp_path / "architecture.json").write_text(text)
    with pytest.raises(ModelError, match=r"architecture\.json: is not a Res-CR-Net: is not the JSON of a Keras"):
        load_keras(path, tmp_path / "architecture.json")


def unet():
    """The first and last layers of a U-Net, which is no Res-CR-Net."""
    file = KerasFile(random_network())
    file.layers, file.weights = [], {}
    file.created.clear()
    x = file.add("InputLayer", "input", [], batch_input_shape=[None, 20, 30, 1])
    for width in (1, 8):
        arrays = {"kernel": np.zeros((3, 3, width, 8)), "bias": np.zeros(8)}
        x = file.add("Conv2D", "conv2d", [x], arrays, filters=8, kernel_size=[3, 3])
        x = file.add("MaxPooling2D", "max_pooling2d", [x])
    file.add("Activation", "softmax", [x], activation="softmax")
    return file


def test_another_network_is_refused_by_its_first_foreign_layer(tmp_path):
    path = unet().write(tmp_path)
    with pytest.raises(ModelError, match=r"layer 'conv2d_?1?' holds .*kernel \(3, 3, .*; expected a separable"):
        load_keras(path)
    expected = r"architecture\.json: is not a Res-CR-Net: layer 'max_pooling2d_1' \(MaxPooling2D\) is out of place; "
    with pytest.raises(ModelError, match=expected + "expected LeakyReLU"):
        load_keras(path, tmp_path / "architecture.json")


@pytest.mark.parametrize("with_architecture", [False, True])
def test_a_weight_of_wrong_shape_is_named(tmp_path, file, with_architecture):
    file.weights["separable_conv2d_3"]["depthwise_kernel"] = np.zeros((5, 3, 2, 1))
    path = file.write(tmp_path)
    expected = r"'separable_conv2d_3' has depthwise_kernel of shape \(5, 3, 2, 1\); expected \(5, 5, 2, 1\)"
    with pytest.raises(ModelError, match=rf"weights\.h5: its weights do not fit its architecture: layer {expected}"):
        load_keras(path, tmp_path / "architecture.json" if with_architecture else None)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"filters": 3}, r"'separable_conv2d' has pointwise_kernel of shape \(1, 1, 1, 2\); expected \(1, 1, 1, 3\)"),
        ({"n": 4}, "layer 'batch_normalization_14' has no gamma"),
        ({"n": 2}, r"layer 'conv2d_2' has kernel of shape \(1, 1, 6, 6\); expected \(1, 1, 6, 3\)"),
        ({"m": 0}, "layer 'bidirectional_1' is in the weights alone"),
        ({"in_channels": 3}, r"has depthwise_kernel of shape \(3, 3, 1, 1\); expected \(3, 3, 3, 1\)"),
    ],
)
def test_an_architecture_of_other_weights_is_refused(tmp_path, file, settings, expected):
    KerasFile(random_network(**settings)).write(tmp_path)
    (tmp_path / "other").mkdir()
    with pytest.raises(ModelError, match=expected):
        load_keras(file.write(tmp_path / "other"), tmp_path / "architecture.json")


def set_(name, **settings):
    return lambda file: file.layer(name)["config"].update(settings)


def become(name, kind):
    return lambda file: file.layer(name).update(class_name=kind)


def read(name, *inputs):
    return lambda file: file.layer(name).update(inbound_nodes=[[[one, 0, 0, {}] for one in inputs]])


def both(*changes):
    return lambda file: [change(file) for change in changes]


def drop_twice(file):
    """Dropout of what is dropped already, before the head."""
    file.drop("spatial_dropout2d_2", 2)
    again = file.layers.pop()
    file.layers.insert(file.layers.index(file.layer("conv2d_3")), again)
    read("conv2d_3", "spatial_dropout2d_3")(file)


FAULTS = {
    "layer 'leaky_re_lu_5' has alpha 0.3; expected 0.1": set_("leaky_re_lu_5", alpha=0.3),
    "layer 'batch_normalization_4' has epsilon 1e-05; expected 0.001": set_("batch_normalization_4", epsilon=1e-5),
    "layer 'softmax' has activation sigmoid; expected softmax": set_("softmax", activation="sigmoid"),
    "layer 'bidirectional' has recurrent_activation sigmoid; expected hard_sigmoid": set_(
        "bidirectional", layer={"class_name": "ConvLSTM2D", "config": {"recurrent_activation": "sigmoid"}}
    ),
    "layer 'bidirectional' holds a GRU; expected a ConvLSTM2D": set_("bidirectional", layer={"class_name": "GRU"}),
    "layer 'tf.math.reduce_sum' has axis 1; expected -1": lambda file: file.layer("tf.math.reduce_sum").update(
        inbound_nodes=[["add_3", 0, 0, {"axis": 1}]]
    ),
    r"its network: dropout: Input should be a valid number \(found \[0.05, 1.5, 0.05\]\)": set_(
        "spatial_dropout2d_1", rate=1.5
    ),
    r"'spatial_dropout2d_3' \(SpatialDropout2D\) is out of place; expected the output of a residual": drop_twice,
    r"different values of dilation_rate in 'separable_conv2d' and 'separable_conv2d_1' \(1, 2\)": set_(
        "separable_conv2d_1", dilation_rate=[2, 2]
    ),
    "has kernels of size 4; expected odd sizes": both(
        set_("separable_conv2d", kernel_size=[4, 4]), set_("separable_conv2d_1", kernel_size=[4, 4])
    ),
    r"inputs of shape \[None, 20, 1\]; expected one of": set_("input", batch_input_shape=[None, 20, 1]),
    "layer 'conv2d_3' has filters 3.5; expected a positive whole number": set_("conv2d_3", filters=3.5),
    "a setting in it is malformed": set_("separable_conv2d", kernel_size=3),
    "layer 'conv2d_3' states no filters": lambda file: file.layer("conv2d_3")["config"].pop("filters"),
    "layer 'input' reads a layer that does not come before it": read("input", "softmax"),
    r"has 2 outputs \(softmax, extra\); expected one": lambda file: file.add("ReLU", "extra", ["add"]),
    r"layer 'softmax' reads 2 layers; expected one": read("softmax", "add_4", "add_4"),
    r"layer 'add' \(Add\) is out of place; expected the sum of a shortcut and of branches": read(
        "add", "batch_normalization_3", "batch_normalization_3", "concatenate"
    ),
    r"has different inputs of branches before 'add_1' \(.*\); expected one": read("separable_conv2d_6", "input"),
    "expected it to read 'spatial_dropout2d', as the shortcut does": read("batch_normalization_4", "add"),
    "out of place; expected blocks that are joined as in res-cr-net, dense or very-dense": both(
        become("spatial_dropout2d_1", "Add"), read("spatial_dropout2d_1", "spatial_dropout2d", "add_1")
    ),
    r"'spatial_dropout2d' \(ReLU\) .* expected the output of a residual block or a sum": become(
        "spatial_dropout2d", "ReLU"
    ),
    r"layer 'input' \(ReLU\) is out of place; expected the input": become("input", "ReLU"),
    "expected it to read 'tf.expand_dims' transposed": lambda file: file.layer("tf.compat.v1.transpose").update(
        inbound_nodes=[["leaky_re_lu_11", 0, 0, {}]]
    ),
    "expected it to read 'leaky_re_lu_11'": lambda file: file.layer("tf.expand_dims").update(
        inbound_nodes=[["leaky_re_lu_10", 0, 0, {}]]
    ),
    r"'add_3' \(Add\) is out of place; expected the sum of a transpose and another layer": set_(
        "tf.compat.v1.transpose_1", function="reverse"
    ),
    "holds no convolutional residual block": lambda file: [
        layer.update(class_name="ReLU") for layer in file.layers if layer["class_name"] == "BatchNormalization"
    ],
}


@pytest.mark.parametrize("expected", FAULTS)
def test_a_graph_that_differs_is_refused_by_where_it_differs(tmp_path, file, expected):
    load_keras(file.write(tmp_path, full=True))  # which is sound until it is changed
    FAULTS[expected](file)
    with pytest.raises(ModelError, match=expected) as error:
        load_keras(file.write(tmp_path, full=True))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "change", "expected"),
    [
        ({}, lambda weights: weights.pop("conv2d_1"), "the numbers of its layers .* do not make up residual blocks"),
        ({}, lambda weights: weights.pop("bidirectional"), "18 separable, 14 norm, 4 pointwise, 1 lstm"),
        ({}, lambda weights: weights.pop("batch_normalization"), "18 separable, 13 norm, 4 pointwise, 2 lstm"),
        ({}, lambda weights: weights["conv2d"].pop("bias"), r"layer 'conv2d' holds kernel \(1, 1, 1, 6\); expected"),
        ({"kernel_sizes": [3], "dilations": [1]}, lambda weights: None, "has 1 branches .* give the architecture JSON"),
    ],
)
def test_weights_that_do_not_tell_a_network_are_refused(tmp_path, settings, change, expected):
    file = KerasFile(random_network(**settings))
    change(file.weights)
    with pytest.raises(ModelError, match=rf"weights\.h5: is not a Res-CR-Net: .*{expected}"):
        load_keras(file.write(tmp_path))


def test_renamed_layers_need_the_architecture(tmp_path, file):
    file.layers = json.loads(json.dumps(file.layers).replace('"conv2d_3"', '"classes"'))
    file.weights["classes"] = file.weights.pop("conv2d_3")
    path = file.write(tmp_path)
    assert_same(load_keras(path, tmp_path / "architecture.json"), file.network)
    with pytest.raises(ModelError, match=r"its layers are renamed \(classes, conv2d\); give the architecture JSON"):
        load_keras(path)
