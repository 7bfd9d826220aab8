"""Run a network once and follow its channels through every operation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from rlprune.calling import Inputs, batch_size, call, tensors_in
from rlprune.errors import FOREIGN_ERRORS, TraceError, first_line
from rlprune.graph import rules as _registered  # noqa: F401 - fills RULES
from rlprune.graph.blocks import Sums
from rlprune.graph.labels import Along, Factors, Ties
from rlprune.graph.numbering import NamingCalls, Numbering
from rlprune.graph.rules.call import RULES, UNLABELLED, Call, Product, extent_of, unknown
from rlprune.surgery.resized import counted_by_slot, requested, reshapes

_READS_A_VALUE = ("_local_scalar_dense", "is_nonzero", "equal", "nonzero")


@dataclass(frozen=True)
class Operation:
    """A product, the module that computed it and for how many images."""

    product: Product
    module: str
    images: int


@dataclass(frozen=True)
class Labelled:
    """One dimension of a parameter or buffer and the labels of its positions."""

    tensor: str
    dim: int
    labels: Tensor


@dataclass(frozen=True)
class Counted:
    """Some consecutive positions along a dimension."""

    along: Along
    start: int
    stop: int


@dataclass(frozen=True)
class SizedCall:
    """A call that names sizes.

    Attributes:
        module: whose forward makes the call.
        call: which of its calls, see `call_site`.
        counted: `{slot: positions}`; how many of them stay is the size to name.
        attributes: `{slot: (module, attribute)}` of sizes read from an attribute.
        shape: of the result of a reshape.
    """

    module: str
    call: str
    counted: dict[int, Counted]
    attributes: dict[int, tuple[str, str]]
    shape: tuple[int, ...]


@dataclass
class Recording:
    """What one forward pass says about the channels of a network.

    Attributes:
        ties: labels and what ties them together.
        dims: the labels of every parameter and persistent buffer.
        operations: convolutions and matrix products, in forward order.
        sized: calls that name sizes.
        blocks: `{module: why it cannot be bypassed}` of modules that end in a sum; empty = it can.
        outputs: all tensors that the model returned.
    """

    ties: Ties = field(default_factory=Ties)
    dims: list[Labelled] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    sized: list[SizedCall] = field(default_factory=list)
    blocks: dict[str, str] = field(default_factory=dict)
    outputs: list[Tensor] = field(default_factory=list)


class _Attribute(int):
    """An integer attribute that is recognised where a forward uses it as a size."""

    owner: tuple[str, str]


def record(model: nn.Module, inputs: Inputs) -> Recording:
    """Run a model in eval mode and return what its operations tie together.

    Args:
        model: to follow; its parameters and persistent buffers get labels. Its integer attributes
            are replaced by equal ones, so give a copy.
        inputs: a batch of at least two samples.

    Raises:
        TraceError: if the forward reads values of its input to decide what to do, or uses an
            operation in a way that cannot be followed.
    """
    _mark_attributes(model)
    recorder = _Recorder(model, batch_size(inputs))
    with recorder.following(inputs):
        outputs = tensors_in(call(model, inputs))
    recording = recorder.recording
    recording.outputs = outputs
    recording.blocks = {
        block: reason or _shares_weights(model, block)
        for block, reason in recorder.sums.blocks().items()
    }
    for tensor in outputs:
        for labels in recorder.factors(tensor):
            recording.ties.keep(labels, "it is the output of the model")
    return recording


def _shares_weights(model: nn.Module, block: str) -> str:
    inside = {id(parameter) for parameter in model.get_submodule(block).parameters()}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if id(parameter) in inside and not name.startswith(f"{block}."):
            return f"it shares a weight with {name.rpartition('.')[0]!r}"
    return ""


def _mark_attributes(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if type(module).__module__.startswith("torch.nn"):
            continue
        for attribute, value in list(vars(module).items()):
            if type(value) is int and not attribute.startswith("_"):
                marked = _Attribute(value)
                marked.owner = (name, attribute)
                setattr(module, attribute, marked)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Applies the rule of every operation right after it has run."""

    def __init__(self, model: nn.Module, images: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.recording = Recording()
        self.sums = Sums()
        self._model = model
        self._images = images
        self._factors: Any = WeakIdKeyDictionary()
        self._from_input: Any = WeakIdKeyDictionary()
        self._numbering = Numbering()
        self._recurrent = {n for n, m in model.named_modules() if isinstance(m, nn.RNNBase)}
        self._label_tensors()
        self._keep_recurrent()

    def factors(self, tensor: Tensor) -> Factors:
        """Return the factors of a tensor; none of one that is not followed."""
        found: Factors = self._factors.get(tensor, ())
        return found

    def _label_tensors(self) -> None:
        known: dict[int, list[Labelled]] = {}
        named = [
            *self._model.named_parameters(remove_duplicate=False),
            *self._model.named_buffers(remove_duplicate=False),
        ]
        for name, tensor in named:
            if id(tensor) not in known:
                known[id(tensor)] = self._labels_of(name, tensor)
                self._factors[tensor] = tuple(
                    one.labels.view([-1 if d == one.dim else 1 for d in range(tensor.ndim)])
                    for one in known[id(tensor)]
                )
            self.recording.dims += [Labelled(name, d.dim, d.labels) for d in known[id(tensor)]]

    def _keep_recurrent(self) -> None:
        for one in self.recording.dims:
            name = one.tensor.rpartition(".")[0]
            if name in self._recurrent:
                kind = type(self._model.get_submodule(name)).__name__
                reason = f"a recurrent layer ({kind}) keeps its channels: {name!r}"
                self.recording.ties.kept.append((one.labels, reason))

    def _labels_of(self, name: str, tensor: Tensor) -> list[Labelled]:
        owner, _, attribute = name.rpartition(".")
        kernel = isinstance(self._model.get_submodule(owner), _ConvNd) and attribute == "weight"
        sizes = tensor.shape[:2] if kernel else tensor.shape
        fresh = self.recording.ties.fresh
        return [Labelled(name, d, fresh(size)) for d, size in enumerate(sizes) if size > 1]

    @contextmanager
    def following(self, inputs: Inputs) -> Iterator[None]:
        """Follow everything that runs inside, module by module."""
        for tensor in tensors_in(inputs):
            self._from_input[tensor] = True
        names = {module: name for name, module in self._model.named_modules()}

        def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
            self._numbering.push(names[module])
            self.recording.ties.where = names[module]
            self.sums.enter(names[module], tensors_in((args, kwargs)))

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            name = self._numbering.pop()
            self.sums.leave(name, output, any(True for _ in module.parameters()))
            self.recording.ties.where = self._numbering.module

        handles = []
        for module in self._model.modules():
            handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
            handles.append(module.register_forward_hook(leave))
        fast_path = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        # oneDNN runs a recurrent layer as one operation; without it, its products are counted
        onednn = torch._C._get_mkldnn_enabled()
        if self._recurrent:
            torch._C._set_mkldnn_enabled(False)
        try:
            with torch.no_grad(), NamingCalls(self._named), self:
                yield
        finally:
            torch._C._set_mkldnn_enabled(onednn)
            torch.backends.mha.set_fastpath_enabled(fast_path)
            for handle in handles:
                handle.remove()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation, then its rule."""
        kwargs = kwargs or {}
        name = func._schema.name.partition("::")[2]
        result = func(*args, **kwargs)
        tensors, outputs = tensors_in((args, kwargs)), tensors_in(result)
        depends = any(self._depends(t) for t in tensors)
        if depends and name in _READS_A_VALUE:
            raise TraceError(
                f"the forward of {self._numbering.module or 'the model'!r} reads values of its "
                f"input ({name}); control flow that depends on data cannot be traced: keep such "
                "decisions outside the model"
            )
        for tensor in outputs:
            self._from_input[tensor] = depends
        if outputs and (name in UNLABELLED or any(self.factors(t) for t in tensors)):
            # the state that a recurrent layer begins with has a batch but no input
            batched = depends or self._numbering.module in self._recurrent
            # so has a picture of positions that is made for every sample
            batched |= name == "convolution" and len(tensors[0]) == self._images > 1
            self._follow(func, name, args, kwargs, outputs, images=self._images if batched else 1)
        self.sums.follow(name, [t for t in tensors if self._depends(t)], outputs)
        return result

    def _follow(
        self, func: Any, name: str, args: Any, kwargs: Any, outputs: list[Tensor], *, images: int
    ) -> None:
        known = name if name in RULES else name.removesuffix("_")
        ties, module = self.recording.ties, self._numbering.module
        done = Call(func, known, args, kwargs, outputs, ties, self.factors, self._depends, [])
        try:
            results = RULES.get(known, unknown)(done)
        except FOREIGN_ERRORS as error:
            raise TraceError(
                f"the operation {known!r} in {module or 'the model'!r} is used in a way that "
                f"cannot be followed ({type(error).__name__}: {first_line(error)})"
            ) from error
        for tensor, factors in zip(outputs, results, strict=True):
            self._factors[tensor] = tuple(factors)
        self.recording.operations += [Operation(p, module, images) for p in done.products]

    def _depends(self, tensor: Tensor) -> bool:
        return bool(self._from_input.get(tensor, False))

    def _named(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Make a call that names sizes and remember whose number the sizes are."""
        module, site = self._numbering.call()
        slots = requested(func, args, kwargs)
        attributes = {s: v.owner for s, v in slots.items() if isinstance(v, _Attribute)}
        result = func(*args, **kwargs)
        counted = {}
        for slot, where in counted_by_slot(func, args, kwargs, result).items():
            along = self._along(where.tensor, where.dim)
            if along is not None:
                counted[slot] = Counted(along, where.start, where.stop)
        shape = tuple(result.shape) if reshapes(func) else ()
        if counted:
            self.recording.sized.append(SizedCall(module, site, counted, attributes, shape))
        return result

    def _along(self, tensor: Tensor, dim: int) -> Along | None:
        extent = extent_of(self.factors(tensor), dim - tensor.ndim, tensor.shape[dim])
        return extent if isinstance(extent, Along) else None
