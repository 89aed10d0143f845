"""Run a network by another engine than torch's own: OpenVINO on the processor, CUDA graphs or TensorRT on a GPU.

Each engine converts the network in this process, from memory and into memory: the sandbox lets nothing be written.
What an engine cannot run, torch runs, and a note says why.
"""

from __future__ import annotations

import importlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Final, Protocol

import torch

from dicomnode.infer.memory import lacks_memory

Run = Callable[[torch.Tensor], torch.Tensor]
MOST_SHAPES: Final = 3
"""How many input shapes stay compiled; each is a copy of the network."""
CANNOT: Final = (RuntimeError, ValueError, TypeError, KeyError, AttributeError, ImportError, OSError)


class Unfit(Exception):
    """The engine cannot run this network here; the message says why."""


class Engine(Protocol):
    """Turns a network into a function for inputs of one shape.

    ``own_precision``: it converts numbers by itself, so that torch's autocast and memory formats do not concern it.
    """

    own_precision: bool

    def compile(self, network: torch.nn.Module, example: torch.Tensor) -> Run:
        """Return the function; raises Unfit where that is impossible."""


class Accelerated(torch.nn.Module):
    """A network run by an engine, compiled once per input shape; by torch from the first failure on.

    Parameters
    ----------
    name:
        As ``runtime.backend`` calls the engine.
    """

    def __init__(self, network: torch.nn.Module, engine: Engine, name: str) -> None:
        super().__init__()
        self.network, self._engine, self._name = network, engine, name
        self._compiled: OrderedDict[tuple[int, ...], Run] = OrderedDict()
        self.notes: tuple[str, ...] = ()

    @property
    def own_precision(self) -> bool:
        """Whether an engine is at work that converts numbers by itself."""
        return self._engine.own_precision and not self.notes

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the network's output, float32 where the engine ran it."""
        if not self.notes:
            try:
                return self._run(inputs)(inputs)
            except (Unfit, *CANNOT) as error:
                if lacks_memory(error):
                    raise
                self.give_up(error)
        output: torch.Tensor = self.network(inputs)
        return output

    def give_up(self, why: Exception) -> None:
        """Let torch run the network from now on."""
        said = str(why) if isinstance(why, Unfit) else f"{type(why).__name__}: {why}"
        self.notes = (f"backend {self._name} not used: {' '.join(said.split())[:300]}",)
        self._compiled.clear()

    def _run(self, inputs: torch.Tensor) -> Run:
        shape = tuple(inputs.shape)
        if shape not in self._compiled:
            self._compiled[shape] = self._engine.compile(self.network, inputs)
            while len(self._compiled) > MOST_SHAPES:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(shape)
        return self._compiled[shape]


class OpenVino:
    """OpenVINO on the processor, in exactly the precision that the model file names."""

    own_precision = True

    def __init__(self, *, bfloat16: bool) -> None:
        self._properties = {
            "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32", "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }

    def compile(self, network: torch.nn.Module, example: torch.Tensor) -> Run:
        """Convert by tracing, compile for the example's shape."""
        openvino = _package("openvino")
        failures = (*CANNOT, openvino.frontend.OpConversionFailure)
        try:
            with torch.autocast("cpu", enabled=False):
                model = openvino.convert_model(network, example_input=torch.zeros(example.shape),
                                               input=list(example.shape))
            compiled = openvino.Core().compile_model(model, "CPU", self._properties)
        except failures as error:
            raise Unfit(f"the network cannot be converted: {type(error).__name__}: {error}") from error
        if len(compiled.outputs) != 1:
            raise Unfit(f"the network has {len(compiled.outputs)} outputs; one is expected")
        request = compiled.create_infer_request()

        def run(inputs: torch.Tensor) -> torch.Tensor:
            request.infer({0: inputs.detach().contiguous().numpy()}, share_inputs=True)
            return torch.from_numpy(request.get_output_tensor(0).data).clone()

        return run


class CudaGraphs:
    """``torch.compile`` with CUDA graphs: no kernel is generated, so no compiler runs and no file is written.

    Notes
    -----
    TorchInductor writes sources, starts a compiler and loads what it made: in the sandbox none of it can be.
    """

    own_precision = False

    def compile(self, network: torch.nn.Module, example: torch.Tensor) -> Run:
        """Return the compiled network."""
        if example.device.type != "cuda":
            raise Unfit(f"it is of use on a GPU only, and the model runs on {example.device}")
        compiled: Run = torch.compile(network, backend="cudagraphs", dynamic=False)

        def run(inputs: torch.Tensor) -> torch.Tensor:
            return compiled(inputs).clone()

        return run


class TensorRt:
    """TensorRT by way of MONAI's ``convert_to_trt``, in half precision."""

    own_precision = True

    def compile(self, network: torch.nn.Module, example: torch.Tensor) -> Run:
        """Convert by tracing, build the plan for the example's shape."""
        if example.device.type != "cuda":
            raise Unfit(f"it runs on a GPU only, and the model runs on {example.device}")
        _package("torch_tensorrt")
        from monai.networks.utils import convert_to_trt

        try:
            with torch.autocast("cuda", enabled=False):
                compiled: Run = convert_to_trt(network, "fp16", list(example.shape), use_trace=True,
                                               device=example.device.index or 0)
        except (*CANNOT, AssertionError) as error:
            raise Unfit(f"the network cannot be converted: {type(error).__name__}: {error}") from error
        return lambda inputs: compiled(inputs.float().contiguous()).float()


def accelerated(network: torch.nn.Module, backend: str, *, bfloat16: bool, device: torch.device) -> torch.nn.Module:
    """Return the network as ``runtime.backend`` wants it run; the network itself for ``torch``."""
    if backend == "torch":
        return network
    engines: Mapping[str, Callable[[], Engine]] = {
        "openvino": lambda: OpenVino(bfloat16=bfloat16), "compile": CudaGraphs, "tensorrt": TensorRt}
    made = Accelerated(network, engines[backend](), backend).eval()
    if backend == "openvino" and device.type != "cpu":
        made.give_up(Unfit(f"it runs on the processor, and the model runs on {device}"))
    return made


def warm_up(network: torch.nn.Module, shape: Sequence[int], device: torch.device) -> None:
    """Compile for a shape ahead of the first study."""
    if isinstance(network, Accelerated):
        with torch.no_grad():
            network(torch.zeros(tuple(shape), device=device))


def notes_of(network: torch.nn.Module) -> tuple[str, ...]:
    """Return why torch runs what another engine should, if so."""
    return network.notes if isinstance(network, Accelerated) else ()


def own_precision(network: torch.nn.Module) -> bool:
    """Whether an engine runs the network that takes no part in torch's autocast and memory formats."""
    return isinstance(network, Accelerated) and network.own_precision


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Unfit(f"package {name.replace('_', '-')} is not installed or cannot start ({error})") from error
