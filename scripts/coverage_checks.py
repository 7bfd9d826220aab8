"""The checks of one network: what a graph and a plan promise, held against what is there."""

from __future__ import annotations

import copy
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from coverage_case import Case, last_lines
from coverage_job import entry
from coverage_masked import exact_plan, masked
from coverage_models import SEED, build, images, outputs
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import rlprune
from rlprune.calling import call, tensors_in
from rlprune.errors import FOREIGN_ERRORS, RLPruneError, first_line

RESOLUTION_STEP = 64
TOLERANCE, MACS_TOLERANCE = 1e-4, 1e-2


def difference(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """Return the largest difference, relative to the largest value of the same output."""
    if [t.shape for t in ours] != [t.shape for t in theirs]:
        return math.inf
    pairs = zip(ours, theirs, strict=True)
    found = [float((a - b).abs().max() / b.abs().max().clamp_min(1e-30)) for a, b in pairs]
    return max((math.inf if math.isnan(d) else d for d in found), default=math.inf)


def _check_params(case: Case) -> str:
    """The parameters that the graph predicts are those that are there."""
    predicted = case.graph.params(case.plan)
    counted = sum(parameter.numel() for parameter in case.small.parameters())
    return "ok" if predicted == counted else f"FAIL: predicted {predicted}, counted {counted}"


def _check_macs(case: Case) -> str:
    """The MACs that the graph predicts are half of PyTorch's count of FLOPs, within 1 %."""
    predicted = {"dense": case.graph.macs(), "pruned": case.graph.macs(case.plan)}
    counted = _counted_macs(case)
    errors = {name: predicted[name] / max(1, counted[name]) - 1 for name in counted}
    case.note(**{f"macs_error_{name}": error for name, error in errors.items()})
    wrong = [name for name, error in errors.items() if abs(error) > MACS_TOLERANCE]
    text = "; ".join(f"{n}: predicted {predicted[n]:,}, counted {counted[n]:,.0f}" for n in wrong)
    return f"FAIL: {text}" if wrong else "ok"


def _counted_macs(case: Case) -> dict[str, float]:
    """Count without values where the dense network allows that; it is faster."""
    # The counter takes a parameter that enters a module for something to follow backwards.
    networks = {
        name: copy.deepcopy(network).requires_grad_(False)
        for name, network in (("dense", case.model), ("pruned", case.small))
    }
    image = images(1, case.size)
    try:
        _macs(copy.deepcopy(case.model).requires_grad_(False).to("meta"), image.to("meta"))
    except FOREIGN_ERRORS:
        return {name: _macs(network, image) for name, network in networks.items()}
    return {name: _macs(n.to("meta"), image.to("meta")) for name, n in networks.items()}


def _macs(network: nn.Module, image: Tensor) -> float:
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    return float(counter.get_total_flops()) / 2


def _check_masked(case: Case) -> str:
    """Removing a random half of all channels is the same as ignoring them.

    Only of the groups over which nothing averages, since the others' removal is no masking.
    """
    return _compared_with_masked(case, case.size, "masked")


def _check_resolution(case: Case) -> str:
    """The same on images of another size than the traced one, where the network takes them."""
    larger = case.size + RESOLUTION_STEP
    try:
        outputs(case.model, images(2, larger))
    except FOREIGN_ERRORS:
        return "n/a"
    return _compared_with_masked(case, larger, "resolution")


def _compared_with_masked(case: Case, size: int, what: str) -> str:
    plan = exact_plan(case.graph)
    if plan is None:
        return "n/a"
    batch = images(2, size)
    ignoring = outputs(masked(case.model, plan), batch)
    error = difference(outputs(plan.apply(case.model).eval(), batch), ignoring)
    effect = difference(ignoring, outputs(case.model, batch))
    case.note(**{f"{what}_error": error, f"{what}_effect": effect})
    if error <= TOLERANCE:
        return "ok"
    model = copy.deepcopy(case.model).double()
    ours = outputs(plan.apply(model).eval(), batch.double())
    exact = difference(ours, outputs(masked(model, plan), batch.double()))
    case.note(**{f"{what}_error_float64": exact})
    if exact <= TOLERANCE:
        return f"ok (in float64: {exact:.1e}; float32: {error:.1e})"
    return f"FAIL: differs by {error:.1e} of the output (in float64: {exact:.1e})"


def _check_reload(case: Case) -> str:
    """Saved and loaded in a new process, the network computes the same bits."""
    folder, batch = case.folder / "saved", images(2, case.size)
    case.plan.save(folder, case.small)
    tensors = {str(i): t.contiguous() for i, t in enumerate(outputs(case.small, batch))}
    save_file(tensors, case.folder / "outputs.safetensors")
    done = subprocess.run(
        entry("reload", case.spec, str(case.size), str(case.folder)),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return done.stdout.strip().splitlines()[-1]
    lines = done.stderr.strip().splitlines()
    case.progress.tell(log=["[reload]", *lines[-12:]])
    return f"FAIL: {lines[-1] if lines else 'died'}"


def run_reload(spec: str, size: int, folder: Path) -> None:
    """Load what `_check_reload` saved, and compare."""
    model = rlprune.load(folder / "saved", lambda: build(spec, size))
    expected = load_file(folder / "outputs.safetensors")
    ours = outputs(model, images(2, size))
    if "torch_pruning" in sys.modules:
        print("FAIL: loading imports torch-pruning")
    elif all(torch.equal(t, expected[str(i)]) for i, t in enumerate(ours)):
        print("ok")
    else:
        theirs = [expected[str(i)] for i in range(len(ours))]
        print(f"FAIL: other outputs, by {difference(ours, theirs):.1e}")


def _check_backward(case: Case) -> str:
    """In training mode every parameter that had a finite gradient still has one."""
    before = _finite_gradients(case.model, images(2, case.size))
    after = _finite_gradients(case.small, images(2, case.size))
    lost = sorted(before - after)
    return f"FAIL: no finite gradient for {len(lost)}, such as {lost[0]}" if lost else "ok"


def _finite_gradients(model: nn.Module, batch: Tensor) -> set[str]:
    torch.manual_seed(SEED)
    network = copy.deepcopy(model).train()
    loss = torch.stack([t.square().mean() for t in tensors_in(call(network, batch))]).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    return {
        name
        for name, parameter in network.named_parameters(remove_duplicate=False)
        if parameter.grad is not None and bool(parameter.grad.isfinite().all())
    }


def _check_batch(case: Case) -> str:
    """A batch of three is three batches of one."""
    error = _batch_error(case.small, images(3, case.size))
    case.note(batch_error=error)
    if error <= TOLERANCE:
        return "ok"
    exact = _batch_error(copy.deepcopy(case.small).double(), images(3, case.size).double())
    if exact <= TOLERANCE:
        return f"ok (in float64: {exact:.1e}; float32: {error:.1e})"
    dense = _batch_error(case.model, images(3, case.size))
    return f"FAIL: differs by {error:.1e} of the output (dense network: {dense:.1e})"


def _batch_error(model: nn.Module, batch: Tensor) -> float:
    singles = [outputs(model, batch[i : i + 1]) for i in range(len(batch))]
    return difference(outputs(model, batch), [torch.cat(t) for t in zip(*singles, strict=True)])


def _check_onnx(case: Case) -> str:
    """The ONNX file computes what the network computes."""
    from rlprune.export import export_model

    try:
        done = export_model(case.small, images(2, case.size), case.folder / "onnx", "onnx")
    except (*FOREIGN_ERRORS, RLPruneError) as error:
        case.progress.begin("onnx of the dense network")
        case.progress.tell(log=["[onnx]", *last_lines(error)])
        try:
            export_model(case.model, images(2, case.size), case.folder / "dense", "onnx")
        except (*FOREIGN_ERRORS, RLPruneError):
            return f"n/a (dense fails too: {first_line(error)})"
        return f"FAIL: {first_line(error)}"
    case.note(onnx_error=max(d.relative for d in done.differences.values()))
    case.progress.tell(
        export=f"fixed batch: {done.batch_fixed_by}" if done.batch_fixed_by else "any"
    )
    return "ok"


RUN: dict[str, Callable[[Case], str]] = {
    "params": _check_params,
    "macs": _check_macs,
    "masked": _check_masked,
    "resolution": _check_resolution,
    "batch": _check_batch,
    "backward": _check_backward,
    "reload": _check_reload,
    "onnx": _check_onnx,
}
