"""Which of the architectures of torchvision and timm are pruned exactly: every one, in turn.

A network with random weights is traced once and every group is halved (`Plan.uniform(graph, 0.5)`).
Then the network is held to what the graph promised, check by check; `CHECKS` says what each one is.
Every network runs in a process of its own, on one thread, and is killed if a step takes too long.

    python scripts/coverage.py                          # everything that is not in the file yet
    python scripts/coverage.py --only 'timm:vit_*' --fresh --checks params masked
"""

from __future__ import annotations

import copy
import fnmatch
import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal, get_args

import numpy as np
import torch
import tyro
from bench import BENCHMARKS, COMMIT, Row
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import rlprune
from rlprune.calling import call, tensors_in
from rlprune.config import Settings
from rlprune.errors import FOREIGN_ERRORS, ModelError, RLPruneError, TraceError, first_line
from rlprune.graph.group_graph import Group, GroupGraph, LeftOut
from rlprune.models._torchvision import require_timm, require_torchvision
from rlprune.models.registry import build_model
from rlprune.report.measure import describe_device

TIMM = """
resnet10t resnet26d resnet50d resnext50_32x4d seresnet50 ecaresnet26t skresnet18 res2net50_26w_4s
resnest14d resnetv2_50 resnetrs50 regnetx_008 regnety_008 regnetz_b16 densenet121 dla34 vovnet39a
ese_vovnet19b_dw cspresnet50 cspdarknet53 darknet53 dpn68 selecsls42b xception41 inception_v3
inception_v4 inception_resnet_v2 inception_next_tiny efficientnet_b0 efficientnet_lite0
tf_efficientnetv2_b0 efficientnetv2_rw_t mixnet_s mnasnet_100 fbnetc_100 spnasnet_100 lcnet_050
mobilenetv1_100 mobilenetv2_100 mobilenetv3_small_100 mobilenetv4_conv_small
mobilenetv4_hybrid_medium mobilenet_edgetpu_v2_xs ghostnet_100 ghostnetv2_100 repvgg_a0 mobileone_s0
repghostnet_050 hardcorenas_a tinynet_a rexnet_100 hrnet_w18_small convnext_atto convnextv2_atto
nf_resnet50 dm_nfnet_f0 nfnet_l0 gernet_s vgg11_bn hgnet_tiny hgnetv2_b0 fasternet_t0 starnet_s1
rdnet_tiny vit_tiny_patch16_224 vit_small_patch32_224 deit_tiny_patch16_224
deit3_small_patch16_224 beit_base_patch16_224 cait_xxs24_224 xcit_nano_12_p16_224
swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 swin_s3_tiny_224 pit_ti_224 levit_128s
crossvit_tiny_240 coat_tiny tnt_s_patch16_224 twins_pcpvt_small twins_svt_small pvt_v2_b0
mvitv2_tiny mobilevit_xxs mobilevitv2_050 maxvit_tiny_rw_224 coatnet_nano_rw_224 edgenext_xx_small
efficientformer_l1 efficientformerv2_s0 eva02_tiny_patch14_224 davit_tiny gcvit_xxtiny nest_tiny
volo_d1_224 visformer_tiny convit_tiny poolformer_s12 poolformerv2_s12 caformer_s18 convformer_s18
mixer_s32_224 resmlp_12_224 gmlp_ti16_224 gmixer_12_224 sequencer2d_s focalnet_tiny_srf fastvit_t8
repvit_m0_9 tiny_vit_5m_224 hiera_tiny_224 efficientvit_b0 efficientvit_m0 convmixer_768_32
vit_relpos_small_patch16_224 flexivit_small sehalonet33ts halonet26t lambda_resnet26t botnet26t_256
nextvit_small shvit_s1 swiftformer_xs mambaout_femto vit_base_patch16_siglip_224
naflexvit_base_patch16_gap
""".split()
"""One architecture of every family of timm, small where there is a choice."""

QUICK = (
    "torchvision:resnet18",
    "torchvision:mobilenet_v3_small",
    "timm:lcnet_050",
    "timm:vit_tiny_patch16_224",
)

Check = Literal["params", "macs", "masked", "resolution", "batch", "backward", "reload", "onnx"]
CHECKS: tuple[Check, ...] = get_args(Check)

SIZES = (64, 96, 128, 160, 192, 224)
RESOLUTION_STEP = 64
CHANNELS, CLASSES, SEED = 3, 1000, 0
_EXPECTED = ("it is the output of the model",)
MOST_PARAMS_LEFT = 0.65
TOLERANCE, MACS_TOLERANCE = 1e-4, 1e-2
ALONE_ABOVE = 150_000_000  # parameters
ALONE_PATIENCE = 4  # times the time limit, for networks this large
POLL_SECONDS = 0.1


class CoverageSettings(Settings):
    """Flags of the coverage benchmark."""

    json_file: Annotated[Path, tyro.conf.arg(name="json")] = BENCHMARKS / "coverage.json"
    """The result; networks that are in it already are kept."""
    markdown: Path | None = None
    """The same as tables; beside the result by default."""
    quick: bool = False
    """A handful of networks, under a minute."""
    only: tuple[str, ...] = ()
    """Patterns of networks, such as 'timm:vit_*'; all by default."""
    checks: tuple[Check, ...] = CHECKS
    """What to check."""
    jobs: int = Field(default=2, ge=1)
    """Networks at a time, one thread each."""
    timeout: float = Field(default=120.0, gt=0)
    """Seconds that tracing and each check may take; four times that for the largest networks."""
    export_timeout: float = Field(default=240.0, gt=0)
    """Seconds that an export may take."""
    fresh: bool = False
    """Measure networks that are in the result already."""
    failed: bool = False
    """Only networks that are in the result and are not supported."""


Status = Literal["ok", "refused", "crash", "hang"]
Family = Literal["convolutional", "transformer"]


class Measured(BaseModel):
    """One network.

    Attributes:
        model: what to type after `--model`.
        family: see `family_of`.
        image_size: of the square images.
        params: of the dense network.
        groups: channels and heads that can be pruned.
        heads: groups whose units are attention heads.
        blocks: residual blocks that can be bypassed.
        left_out: groups and blocks that cannot be pruned.
        left_out_first: the first of them, with reasons.
        left_out_reasons: how many are left out for each reason, without names.
        prunable_macs: share of the MACs that goes with every group at its floor, all blocks kept.
        params_left: share left with half of every group.
        macs_left: share left with half of every group.
        checks: `ok`, `n/a` or `FAIL: why`.
        export: whether the exported file takes any batch size.
        numbers: what the checks measured.
        seconds: per step.
        status: whether the network was traced and halved.
        reason: why not.
        log: the last lines of what went wrong.
    """

    model_config = ConfigDict(extra="forbid")

    model: str
    family: Family | None = None
    image_size: int = 0
    params: int = 0
    groups: int = 0
    heads: int = 0
    blocks: int = 0
    left_out: int = 0
    left_out_first: list[str] = []
    left_out_reasons: dict[str, int] = {}
    prunable_macs: float = 0.0
    params_left: float = 1.0
    macs_left: float = 1.0
    checks: dict[str, str] = {}
    export: str = ""
    numbers: dict[str, float] = {}
    seconds: dict[str, float] = {}
    status: Status = "ok"
    reason: str = ""
    log: list[str] = []

    @property
    def source(self) -> str:
        """Where the architecture comes from."""
        return self.model.partition(":")[0]

    @property
    def problems(self) -> list[str]:
        """Why the network does not count as supported."""
        if self.status != "ok":
            return [f"{self.status}: {self.reason}"]
        failed = [
            f"{name} {result.removeprefix('FAIL: ')}"
            for name, result in self.checks.items()
            if result.startswith("FAIL")
        ]
        if self.params_left > MOST_PARAMS_LEFT:
            failed.insert(0, f"{self.params_left:.0%} of the parameters are left")
        return failed


# --- one network, in a process of its own ---------------------------------------------------------


class Report:
    """Tells the parent process, line by line, which step begins and what was found."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._step, self._start = "", time.perf_counter()

    def begin(self, step: str) -> None:
        """Begin a step; it may take the time limit from now on."""
        now = time.perf_counter()
        found = {"seconds": {self._step: round(now - self._start, 2)}} if self._step else {}
        self._step, self._start = step, now
        self.tell(step=step, **found)

    def tell(self, **found: Any) -> None:
        """Report some fields of `Measured`; entries of dicts are added to those there are."""
        with self._path.open("a") as file:
            file.write(json.dumps(found) + "\n")


def build(spec: str, image_size: int) -> nn.Module:
    """Build the architecture with random weights."""
    torch.manual_seed(SEED)
    return build_model(
        spec, in_channels=CHANNELS, num_classes=CLASSES, image_size=image_size
    ).eval()


def default_size(spec: str) -> tuple[int, bool]:
    """Return the side of the images that an architecture is meant for, and if it takes no other."""
    source, _, name = spec.partition(":")
    if source == "timm":
        config = require_timm().get_pretrained_cfg(name)
        return int(config.input_size[-1]), bool(getattr(config, "fixed_input_size", False))
    builder = require_torchvision().models.get_model_builder(name)
    return 224, name.startswith(("vit_", "maxvit_")) or "image_size" in builder.__annotations__


def images(count: int, size: int, seed: int = 1) -> Tensor:
    """Return noise."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, CHANNELS, size, size, generator=generator)


def outputs(model: nn.Module, batch: Tensor) -> list[Tensor]:
    """Return what a network computes."""
    with torch.no_grad():
        return [t for t in tensors_in(call(model, batch)) if t.is_floating_point()]


def smallest_network(spec: str) -> tuple[nn.Module, int]:
    """Build an architecture and find the smallest images that it takes."""
    default, fixed = default_size(spec)
    model = build(spec, default)
    unsettle(model)
    sizes = [default] if fixed else sorted({*(s for s in SIZES if s < default), default})
    for size in sizes[:-1]:
        try:
            if all(bool(t.isfinite().all()) for t in outputs(model, images(2, size))):
                return model, size
        except FOREIGN_ERRORS:
            continue
    return model, default


@torch.no_grad()
def unsettle(model: nn.Module) -> None:
    """Make every parameter matter: untrained networks begin with neutral or tiny values."""
    torch.manual_seed(SEED)
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            assert module.running_var is not None  # noqa: S101 - both or neither
            module.running_mean.normal_(0.0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            if module.affine:
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0.0, 0.1)
    for name, parameter in model.named_parameters():
        lowest, highest = float(parameter.min()), float(parameter.max())
        most = max(-lowest, highest)
        line = sum(size > 1 for size in parameter.shape) <= 1
        if "bias" in name.rpartition(".")[2]:
            if most < 1e-3:
                parameter.normal_(0.0, 0.1)
        elif line and lowest == highest and most < 0.2:  # the scale of a layer or a branch
            parameter.uniform_(0.5, 1.5)
        elif most < 1e-3:
            parameter.normal_(0.0, 0.02)


class _Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notices products of two activations."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func._schema.name.partition("::")[2]
        if name in ("bmm", "baddbmm"):
            factors = [t if t._base is None else t._base for t in tensors_in(args)[-2:]]
            self.found |= not any(isinstance(t, nn.Parameter) for t in factors)
        self.found |= name.startswith(("_scaled_dot_product", "_native_multi_head_attention"))
        self.found |= name.startswith("_transformer_encoder_layer")
        return func(*args, **(kwargs or {}))


def family_of(model: nn.Module, batch: Tensor) -> Family:
    """Tell convolutional networks from networks of tokens.

    Those multiply activations with one another (attention) or have no convolution whose windows
    overlap (mixers); all others are convolutional.
    """
    with _Products() as products:
        outputs(model, batch)
    overlaps = any(
        any(k > s for k, s in zip(m.kernel_size, m.stride, strict=True))
        for m in model.modules()
        if isinstance(m, _ConvNd)
    )
    return "transformer" if products.found or not overlaps else "convolutional"


@dataclass
class Case:
    """A network, its graph and its halved self.

    Attributes:
        spec: of the architecture.
        size: of the images.
        model: dense.
        graph: of the dense network.
        plan: half of every group.
        small: the plan, applied.
        folder: scratch space.
        report: to tell what was found.
    """

    spec: str
    size: int
    model: nn.Module
    graph: GroupGraph
    plan: rlprune.Plan
    small: nn.Module
    folder: Path
    report: Report

    def note(self, **numbers: float) -> None:
        """Report what a check measured."""
        self.report.tell(numbers={name: float(f"{n:.4g}") for name, n in numbers.items()})


def run_case(spec: str, path: Path, checks: Sequence[Check], *, alone: bool) -> None:
    """Measure one network and report every step."""
    report = Report(path)
    report.begin("build")
    model, size = smallest_network(spec)
    params = sum(parameter.numel() for parameter in model.parameters())
    report.tell(image_size=size, params=params)
    if params > ALONE_ABOVE and not alone:
        report.tell(deferred=True)
        return
    report.tell(family=family_of(model, images(2, size)))
    report.begin("trace")
    try:
        graph = rlprune.trace(model, images(2, size))
    except (ModelError, TraceError) as error:
        report.tell(status="refused", reason=str(error), log=_tail(error))
        return
    report.tell(**_described(graph))
    report.begin("prune")
    plan = rlprune.Plan.uniform(graph, kept=0.5)
    report.tell(
        params_left=graph.params(plan) / graph.params(), macs_left=graph.macs(plan) / graph.macs()
    )
    small = plan.apply(model).eval()
    with tempfile.TemporaryDirectory() as folder:
        case = Case(spec, size, model, graph, plan, small, Path(folder), report)
        for check in checks:
            report.begin(check)
            report.tell(checks={check: _result(case, check)})
    report.begin("end")


def _described(graph: GroupGraph) -> dict[str, Any]:
    floors = np.where(graph.is_block, graph.widths, graph.floors)
    return {
        "groups": sum(group.kind != "block" for group in graph.groups),
        "heads": sum(group.kind == "heads" for group in graph.groups),
        "blocks": len(graph.blocks),
        "left_out": len(graph.left_out),
        "left_out_first": [f"{item.name}: {item.reason}" for item in _telling(graph)[:3]],
        "left_out_reasons": Counter(re.sub(r"'[^']*'", "_", o.reason) for o in graph.left_out),
        "prunable_macs": 1 - float(graph.macs_of(floors)) / max(1, graph.macs()),
    }


def _telling(graph: GroupGraph) -> list[LeftOut]:
    """Sort what is left out: channels first, then blocks, and what no network can lose last."""
    return sorted(graph.left_out, key=lambda o: (o.reason in _EXPECTED, o.name.endswith("(block)")))


def _result(case: Case, check: Check) -> str:
    try:
        return _CHECKS[check](case)
    except (*FOREIGN_ERRORS, RLPruneError) as error:
        case.report.tell(log=[f"[{check}]", *_tail(error)])
        return f"FAIL: {type(error).__name__}: {first_line(error)}"


def _tail(error: BaseException) -> list[str]:
    cause = error.__cause__ or error
    return "".join(traceback.format_exception(cause)).splitlines()[-12:]


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


def exact_plan(graph: GroupGraph) -> rlprune.Plan | None:
    """Keep a random half of every group whose removal is the same as masking, None without any."""
    rng = np.random.default_rng(SEED)
    kept: dict[str, list[int]] = {}
    for group in graph.groups:
        if group.kind != "block" and not group.statistic:
            kept[group.name] = _random_half(group, rng)
    return rlprune.Plan(kept, graph) if kept else None


def _random_half(group: Group, rng: np.random.Generator) -> list[int]:
    atoms = np.asarray(group.atoms or range(group.width))
    count = int(atoms.max()) + 1
    chosen = rng.choice(count, size=max(1, count // 2), replace=False)
    return [int(c) for c in np.flatnonzero(np.isin(atoms, chosen))]


@torch.no_grad()
def masked(model: nn.Module, plan: rlprune.Plan) -> nn.Module:
    """Return the dense network that ignores removed channels: their readers' weights are zero."""
    network = copy.deepcopy(model)
    tensors = dict(network.named_parameters(remove_duplicate=False))
    read = {(piece.tensor, piece.dim) for piece in plan.graph.slices if piece.reads}
    for name, dims in plan.graph.kept_positions(plan.kept).items():
        layer = network.get_submodule(name.rpartition(".")[0])
        for dim, positions in dims.items():
            if name in tensors and _sums_over(layer, name, dim, (name, dim) in read):
                mask = torch.zeros(tensors[name].shape[dim], dtype=tensors[name].dtype)
                mask[torch.from_numpy(positions)] = 1
                shape = [-1 if d == dim else 1 for d in range(tensors[name].ndim)]
                tensors[name].mul_(mask.view(shape))
    return network


def _sums_over(layer: nn.Module, name: str, dim: int, read: bool) -> bool:
    """Whether a layer sums over a dimension of its tensor; `read` is what the graph says."""
    if not isinstance(layer, nn.Linear | _ConvNd):
        return read
    if isinstance(layer, _ConvNd) and layer.groups > 1:
        return False
    inputs = 0 if isinstance(layer, _ConvTransposeNd) else 1
    return name.endswith("weight") and dim == inputs


def _check_reload(case: Case) -> str:
    """Saved and loaded in a new process, the network computes the same bits."""
    folder, batch = case.folder / "saved", images(2, case.size)
    case.plan.save(folder, case.small)
    tensors = {str(i): t.contiguous() for i, t in enumerate(outputs(case.small, batch))}
    save_file(tensors, case.folder / "outputs.safetensors")
    done = subprocess.run(
        _itself("reload", case.spec, str(case.size), str(case.folder)),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return done.stdout.strip().splitlines()[-1]
    lines = done.stderr.strip().splitlines()
    case.report.tell(log=["[reload]", *lines[-12:]])
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
        case.report.begin("onnx of the dense network")
        why = f"FAIL: {first_line(error)}"
        case.report.tell(checks={"onnx": why}, log=["[onnx]", *_tail(error)])
        try:
            export_model(case.model, images(2, case.size), case.folder / "dense", "onnx")
        except (*FOREIGN_ERRORS, RLPruneError):
            return f"n/a (dense fails too: {first_line(error)})"
        return why
    case.note(onnx_error=max(d.relative for d in done.differences.values()))
    case.report.tell(export=f"fixed batch: {done.batch_fixed_by}" if done.batch_fixed_by else "any")
    return "ok"


_CHECKS: dict[Check, Callable[[Case], str]] = {
    "params": _check_params,
    "macs": _check_macs,
    "masked": _check_masked,
    "resolution": _check_resolution,
    "batch": _check_batch,
    "backward": _check_backward,
    "reload": _check_reload,
    "onnx": _check_onnx,
}


# --- all networks ---------------------------------------------------------------------------------


def _itself(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "ignore", str(Path(__file__).resolve()), *arguments]


@dataclass
class Job:
    """A network that is being measured.

    Attributes:
        spec: of the architecture.
        alone: whether nothing else runs beside it.
        settings: of the benchmark.
        folder: where its reports go.
    """

    spec: str
    alone: bool
    settings: CoverageSettings
    folder: Path
    found: dict[str, Any] = field(default_factory=dict)
    step: str = "start"
    lines: int = 0

    def __post_init__(self) -> None:
        self.report.touch()
        mode = "alone" if self.alone else "beside"
        self.process = subprocess.Popen(
            _itself("case", self.spec, str(self.report), ",".join(self.settings.checks), mode),
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "stderr").open("w"),
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        self.began = self.step_began = time.monotonic()

    @property
    def report(self) -> Path:
        """Where the process writes what it finds."""
        return self.folder / "report"

    def poll(self) -> bool:
        """Read what is new, and return whether the network is done."""
        ended = self.process.poll() is not None
        for line in self.report.read_text().splitlines()[self.lines :]:
            self.lines += 1
            self._merge(json.loads(line))
        if ended:
            self._end()
        elif time.monotonic() - self.step_began > self._limit:
            self.kill()
            self._stopped("hang", f"more than {self._limit:.0f} s")
            return True
        return ended

    def kill(self) -> None:
        """End the process and those that it started."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def row(self) -> Measured:
        """Return what was found."""
        seconds = self.found.get("seconds", {}) | {"total": round(time.monotonic() - self.began, 1)}
        found = {k: v for k, v in self.found.items() if k not in ("deferred", "step")}
        return Measured(**found | {"model": self.spec, "seconds": seconds})

    @property
    def _limit(self) -> float:
        seconds = self.settings.export_timeout if "onnx" in self.step else self.settings.timeout
        return seconds * (ALONE_PATIENCE if self.alone else 1)

    def _merge(self, found: dict[str, Any]) -> None:
        if "step" in found:
            self.step, self.step_began = found["step"], time.monotonic()
        for key, value in found.items():
            known = self.found.get(key)
            if isinstance(value, dict) and known is not None:
                known |= value
            elif isinstance(value, list) and known is not None:
                known += value
            else:
                self.found[key] = value

    def _end(self) -> None:
        code = self.process.returncode
        if code:
            lines = (self.folder / "stderr").read_text().strip().splitlines()
            self._merge({"log": lines[-12:]})
            died = f"signal {-code}" if code < 0 else (lines or ["no message"])[-1]
            self._stopped("crash", died)

    def _stopped(self, status: Status, why: str) -> None:
        """Blame the step: one check, or everything."""
        check = self.step.split()[0]
        if check in CHECKS:
            self._merge({"checks": {check: f"FAIL: {status} in {self.step}: {why}"}})
            missing = set(self.settings.checks) - set(self.found["checks"])
            self._merge({"checks": {c: "FAIL: not reached" for c in sorted(missing)}})
        else:
            self._merge({"status": status, "reason": f"{self.step}: {why}"})


def every_model() -> list[str]:
    """Return all architectures of the benchmark."""
    models = require_torchvision().models
    torchvision = [f"torchvision:{name}" for name in models.list_models(module=models)]
    return [*torchvision, *(f"timm:{name}" for name in TIMM)]


def chosen(settings: CoverageSettings, rows: dict[str, Measured]) -> list[str]:
    """Return the networks that are to be measured now."""
    names = list(QUICK) if settings.quick else every_model()
    patterns = settings.only or ("*",)
    names = [n for n in names if any(fnmatch.fnmatch(n, pattern) for pattern in patterns)]
    if settings.failed:
        return [n for n in names if n in rows and rows[n].problems]
    if settings.fresh:
        return names
    return [n for n in names if n not in rows or not _complete(rows[n], settings)]


def _complete(row: Measured, settings: CoverageSettings) -> bool:
    return row.status != "ok" or set(settings.checks) <= set(row.checks)


def measured(names: Sequence[str], settings: CoverageSettings) -> Iterator[Measured]:
    """Measure networks, a few at a time, the largest alone and last."""
    waiting, large = list(names), list[str]()
    running: list[Job] = []
    with tempfile.TemporaryDirectory() as folder, _all_killed(running):
        while waiting or large or running:
            if waiting and len(running) < settings.jobs:
                running.append(_started(waiting.pop(0), settings, Path(folder), alone=False))
            elif large and not running:
                running.append(_started(large.pop(0), settings, Path(folder), alone=True))
            else:
                time.sleep(POLL_SECONDS)
            for job in [job for job in running if job.poll()]:
                running.remove(job)
                if job.found.get("deferred"):
                    large.append(job.spec)
                else:
                    yield job.row()


def _started(spec: str, settings: CoverageSettings, folder: Path, *, alone: bool) -> Job:
    return Job(spec, alone, settings, Path(tempfile.mkdtemp(dir=folder)))


@contextmanager
def _all_killed(jobs: Sequence[Job]) -> Iterator[None]:
    """Leave no process behind."""
    try:
        yield
    finally:
        for job in jobs:
            job.kill()


# --- results --------------------------------------------------------------------------------------


def summary(models: Sequence[Measured]) -> list[Row]:
    """Return shares of networks, by source and family and in all."""
    rows = []
    cases: dict[str, list[Measured]] = {}
    for model in models:
        cases.setdefault(f"{model.source}, {model.family or 'unknown'}", []).append(model)
    for case, members in [*sorted(cases.items()), ("all", list(models))]:
        rows.append(_share(case, "supported", [not model.problems for model in members]))
        for check in CHECKS:
            results = [m.checks[check] for m in members if check in m.checks]
            applies = [r.startswith("ok") for r in results if not r.startswith("n/a")]
            rows += [_share(case, check, applies)] if applies else []
        times = [m.seconds["trace"] for m in members if "trace" in m.seconds]
        if times:
            times_row = Row(
                case, "median trace, s", median(times), min(times), max(times), len(times), "", None
            )
            rows.append(times_row)
    return rows


def _share(case: str, metric: str, values: Sequence[bool]) -> Row:
    share = sum(values) / max(1, len(values))
    return Row(case, metric, share, share, share, len(values), "", None)


def write(settings: CoverageSettings, models: Sequence[Measured]) -> None:
    """Write the result and its tables."""
    document = {
        "command": shlex.join(["python", f"scripts/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "commit": COMMIT,
        "device": describe_device(torch.device("cpu")).model_dump(),
        "rows": [asdict(row) for row in summary(models)],
        "unsupported": {m.model: m.problems for m in models if m.problems},
        "models": [model.model_dump() for model in models],
    }
    settings.json_file.parent.mkdir(parents=True, exist_ok=True)
    partial = settings.json_file.with_suffix(".partial")
    partial.write_text(json.dumps(document, indent=2) + "\n")
    partial.replace(settings.json_file)
    markdown = settings.markdown or settings.json_file.with_suffix(".md")
    markdown.write_text(tables(document, models))


def tables(document: dict[str, Any], models: Sequence[Measured]) -> str:
    """Return the result for people."""
    device = document["device"]
    lines = [
        "# coverage",
        "",
        f"Networks with random weights, half of every group removed. Supported: at most "
        f"{MOST_PARAMS_LEFT:.0%} of the parameters are left and no check fails; a check that does "
        "not apply (n/a) does not fail.",
        "",
        f"- command: `{document['command']}`",
        f"- commit: {document['commit']}",
        f"- device: {device['name']} ({device['type']}), one thread per network, "
        f"torch {device['torch']}",
        "",
        "| networks | metric | value | low | high | n |",
        "|---|---|---|---|---|---|",
    ]
    for row in document["rows"]:
        values = " | ".join(f"{row[key]:.4g}" for key in ("value", "low", "high"))
        lines.append(f"| {row['case']} | {row['metric']} | {values} | {row['n']} |")
    lines += ["", "## Not supported", "", "| network | why |", "|---|---|"]
    for name, problems in document["unsupported"].items():
        lines.append(f"| {name} | {'; '.join(map(_cell, problems))} |")
    lines += ["", "## All networks", "", _HEADINGS, "|" + "---|" * _HEADINGS.count(" | ") + "---|"]
    return "\n".join([*lines, *map(_line, models)]) + "\n"


_HEADINGS = (
    "| network | family | image | groups | heads | blocks | left out | prunable MACs | params left "
    "| MACs left | " + " | ".join(CHECKS) + " | batch of the export | trace, s |"
)


def _line(m: Measured) -> str:
    checks = [_cell(m.checks.get(check, ""))[:60] for check in CHECKS]
    cells = [
        m.model, m.family or m.status, m.image_size, m.groups, m.heads, m.blocks, m.left_out,
        f"{m.prunable_macs:.1%}", f"{m.params_left:.1%}", f"{m.macs_left:.1%}", *checks,
        _cell(m.export.partition(":")[0]), m.seconds.get("trace", ""),
    ]  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())


def main(settings: CoverageSettings) -> None:
    """Measure what is missing, and write the result after every network."""
    known: list[Measured] = []
    if settings.json_file.is_file():
        known = [Measured(**m) for m in json.loads(settings.json_file.read_text())["models"]]
    rows = {row.model: row for row in known}
    order = {name: i for i, name in enumerate(every_model())}
    names = chosen(settings, rows)
    for done, row in enumerate(measured(names, settings), start=1):
        rows[row.model] = row
        write(settings, sorted(rows.values(), key=lambda r: order.get(r.model, len(order))))
        text = "; ".join(row.problems) or "ok"
        print(f"{done}/{len(names)} {row.model} {row.seconds['total']} s: {text}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["case"]:
        _, _, spec, path, checks, mode = sys.argv
        run_case(spec, Path(path), checks.split(","), alone=mode == "alone")  # type: ignore[arg-type]
    elif sys.argv[1:2] == ["reload"]:
        _, _, spec, size, folder = sys.argv
        run_reload(spec, int(size), Path(folder))
    else:
        main(tyro.cli(CoverageSettings))
