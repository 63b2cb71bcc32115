"""ONNX graphs, node by node: opset 17 and IR 8, which onnxruntime reads from 1.15 on.

PyTorch's own exporter is not used: it fixes the number of lines that a hand-written scan walks over, and writes opset
18.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rescrnet.errors import UsageError

if TYPE_CHECKING:
    import onnx

OPSET, IR = 17, 8
Shape = Sequence[int | str]
"""Lengths of axes; a text names one that is known at run time only."""


class Graph:
    """Nodes in the order in which they are computed, and the constants that they read.

    Args:
        prefix: of the names in it, which no other graph of the same file may share.
        around: the graph that it is a branch of, which keeps its constants.
    """

    def __init__(self, prefix: str = "", around: Graph | None = None) -> None:
        self.prefix = prefix
        self._around = around
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[object, onnx.TensorProto] = {}

    def constant(self, array: NDArray[Any]) -> str:
        """The name of a constant, float32 or int64 as ``array`` is; one of the same values is kept once."""
        from onnx import numpy_helper

        if self._around is not None:
            return self._around.constant(array)
        known = (array.dtype.str, array.shape, array.tobytes())
        if known not in self._constants:
            name = f"{self.prefix}constant{len(self._constants)}"
            self._constants[known] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return str(self._constants[known].name)

    def node(
        self,
        operation: str,
        *inputs: str | Value,
        outputs: int = 1,
        names: Sequence[str] | None = None,
        **attributes: Any,
    ) -> list[Value]:
        """The results of an operation on values, by ``names`` where they are given."""
        from onnx import helper

        number = len(self._nodes)
        names = names or [f"{self.prefix}{operation}{number}_{index}" for index in range(outputs)]
        given = [one.name if isinstance(one, Value) else one for one in inputs]
        self._nodes.append(helper.make_node(operation, given, names, f"{self.prefix}node{number}", **attributes))
        return [Value(self, name) for name in names]

    def value(self, operation: str, *inputs: str | Value, **attributes: Any) -> Value:
        """The one result of an operation on values."""
        return self.node(operation, *inputs, **attributes)[0]

    def finish(self, name: str, inputs: Mapping[str, Shape], outputs: Mapping[str | Value, Shape]) -> onnx.GraphProto:
        """The graph with its inputs and outputs, all float32, by their names and shapes."""
        from onnx import TensorProto, helper

        def described(values: Mapping[Any, Shape]) -> list[onnx.ValueInfoProto]:
            return [
                helper.make_tensor_value_info(str(value), TensorProto.FLOAT, shape) for value, shape in values.items()
            ]

        constants = list(self._constants.values())
        return helper.make_graph(self._nodes, name, described(inputs), described(outputs), constants)


class Value:
    """What a node gives. Values of one graph can be added."""

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph, self.name = graph, name

    def __str__(self) -> str:
        return self.name

    def __add__(self, other: Value) -> Value:
        return self.graph.value("Add", self, other)


def require_onnx() -> None:
    """Raise :class:`UsageError` where the library that writes the format is missing."""
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise UsageError(
            "this export", "needs onnx, which is not installed", "pip install 'rescrnet[export]'"
        ) from None


def as_bytes(graph: onnx.GraphProto, metadata: Mapping[str, str], description: str) -> bytes:
    """A model file with one graph in it."""
    import onnx
    from onnx import helper

    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR, producer_name="rescrnet")
    model.producer_version, model.doc_string = version("rescrnet"), description
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content
