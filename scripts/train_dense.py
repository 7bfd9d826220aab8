"""Train a dense network on a task's train split; save its weights, and how it learned beside them.

All the digits weights that ship with the package:

    python scripts/train_dense.py --all-digits

The Fashion-MNIST weights that ship with it (the same with `plain_cnn` and `resnet56`; 6 epochs of
`vgg`, 4 of `mobilenetv2` and `densenet`):

    python scripts/train_dense.py --model resnet20 --data fashion-mnist --image-size 14 --epochs 8
        --out rlprune/models/weights/resnet20_fashion-mnist-14.safetensors
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
import tyro
from torch import Tensor, nn
from torch.nn import functional

from rlprune.calling import Inputs, call, main_output
from rlprune.data import DataSplits, load_data
from rlprune.dynamics.monitor import Monitor
from rlprune.dynamics.probe import HeldOut
from rlprune.dynamics.record import Dynamics
from rlprune.dynamics.storage import beside, write_dynamics
from rlprune.errors import RLPruneError
from rlprune.evaluate.batches import forward
from rlprune.evaluate.tasks import Task, infer_task
from rlprune.kernels import sound_gradients
from rlprune.models import BUILTIN_NAMES, build_model
from rlprune.progress import progress_bar
from rlprune.recipes.finetune import optimizer_for

_WEIGHTS = Path(__file__).resolve().parents[1] / "rlprune" / "models" / "weights"
_DIGITS_EPOCHS = 60
_AUTOENCODER_EPOCHS = 200


@dataclass(frozen=True)
class Options:
    """What to train, on what, and where the weights go."""

    model: str = "resnet20"
    """A built-in model, torchvision:NAME or timm:NAME."""
    data: str = "digits"
    """A task; see `rlprune --help`."""
    image_size: int | None = None
    """Resize the images to this."""
    epochs: int = 10
    """Passes over the train split."""
    seed: int = 0
    """Seed of the initial weights, the order of the samples and the shifts."""
    out: Path | None = None
    """Where the weights go: FILE.safetensors."""
    data_dir: Path | None = None
    """Where data files are looked for and downloaded to."""
    threads: int = 1
    """CPU threads."""
    learning_rate: float = 0.1
    """Peak of the one-cycle schedule."""
    shift: int | None = None
    """Largest random shift of an image, in pixels; 1 on digits and 0 elsewhere when not given."""
    all_digits: bool = False
    """Train every built-in model on digits and put the weights where the package looks for them."""


@dataclass(frozen=True)
class Result:
    """A trained network, its quality on the validation split and how it learned."""

    module: nn.Module
    metric: str
    value: float
    dynamics: Dynamics


def main(options: Options) -> None:
    """Train what was asked for."""
    torch.set_num_threads(options.threads)
    if options.all_digits:
        data = load_data("digits")
        for name in BUILTIN_NAMES:
            epochs = _AUTOENCODER_EPOCHS if name == "autoencoder" else _DIGITS_EPOCHS
            result = train(name, data, epochs, options.seed, options.learning_rate, shift=1)
            save(result, name, data, _WEIGHTS / f"{name}_{data.tag}.safetensors")
        return
    if options.out is None or options.out.suffix != ".safetensors":
        raise RLPruneError("no place for the weights; type `--out FILE.safetensors`")
    if options.epochs < 1:
        raise RLPruneError(f"{options.epochs} epochs train nothing; type `--epochs 1` or more")
    data = load_data(options.data, data_dir=options.data_dir, image_size=options.image_size)
    shift = options.shift if options.shift is not None else int(options.data == "digits")
    result = train(options.model, data, options.epochs, options.seed, options.learning_rate, shift)
    save(result, options.model, data, options.out)


def train(
    model: str, data: DataSplits, epochs: int, seed: int, learning_rate: float, shift: int
) -> Result:
    """Train a network from scratch with a one-cycle schedule.

    Classifiers learn with SGD; reconstruction, whose gradients are far smaller, with Adam.
    """
    torch.manual_seed(seed)
    channels, image_size, _ = data.input_shape
    module = build_model(
        model, in_channels=channels, num_classes=data.num_classes, image_size=image_size
    )
    task = task_of(module, data)
    batches = data.train.loader(min(128, len(data.train)), shuffle=True, seed=seed, drop_last=True)
    steps = epochs * sum(1 for _ in batches)
    optimizer = optimizer_for(module, task, learning_rate=learning_rate, weight_decay=5e-4)
    peak = optimizer.param_groups[0]["lr"]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, steps)
    value = 0.0
    with progress_bar() as progress, Monitor(module, steps=steps) as monitor:
        bar = progress.add_task(f"{model} on {data.tag}", total=steps)
        for epoch in range(1, epochs + 1):
            module.train()
            for inputs, targets in batches:
                inputs = shifted(inputs, shift)
                optimizer.zero_grad(set_to_none=True)
                with sound_gradients(module):
                    outputs = main_output(call(module, inputs))
                loss = task.loss(outputs, inputs, targets)
                torch.autograd.backward(loss)
                monitor.step(loss)
                optimizer.step()
                schedule.step()
                progress.advance(bar)
            value, validation_loss = validated(module.eval(), data, task)
            monitor.epoch(validation_loss)
            progress.console.print(
                f"{model} on {data.tag}: epoch {epoch}/{epochs}, "
                f"validation {task.metric} {value:.4f}"
            )
        dynamics = monitor.close(HeldOut.of(module, data, task, seed))
    return Result(module, task.metric, value, dynamics)


@torch.no_grad()
def validated(module: nn.Module, data: DataSplits, task: Task) -> tuple[float, float]:
    """Return the metric and the loss on the validation split."""
    inputs, targets = data.validation.tensors()
    outputs = forward(module, inputs)
    return task.quality(outputs, inputs, targets), float(task.loss(outputs, inputs, targets))


@torch.no_grad()
def task_of(module: nn.Module, data: DataSplits) -> Task:
    """Tell from the network's output whether it classifies or reconstructs."""
    inputs, targets = data.train.tensors(2)
    outputs = main_output(call(module.eval(), inputs))
    return infer_task(outputs, inputs, targets, data.num_classes)


def shifted(images: Inputs, most: int) -> Inputs:
    """Shift every image by up to `most` pixels, repeating its border."""
    if most == 0:
        return images
    if not isinstance(images, Tensor):
        raise RLPruneError("only single images are shifted; leave out `--shift`")
    count, _, height, width = images.shape
    padded = functional.pad(images, (most, most, most, most), mode="replicate")
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    rows, columns = torch.randint(2 * most + 1, (2, count))
    return windows[torch.arange(count), :, rows, columns]


def save(result: Result, model: str, data: DataSplits, path: Path) -> None:
    """Write the weights in half precision, and `NAME.dynamics.json`, whole or not at all."""
    state = {
        name: value.half() if value.is_floating_point() else value
        for name, value in result.module.state_dict().items()
    }
    about = {"model": model, "data": data.tag, f"validation {result.metric}": f"{result.value:.4f}"}
    # One entry, because the order of several is random and the file should be reproducible.
    metadata = {"about": json.dumps(about)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        draft = Path(folder) / path.name
        safetensors.torch.save_file(state, draft, metadata=metadata)
        draft.chmod(0o644)
        os.replace(draft, path)
    write_dynamics(beside(path), result.dynamics)
    print(f"{model} on {data.tag}: validation {result.metric} {result.value:.4f}, saved to {path}")


if __name__ == "__main__":
    try:
        main(tyro.cli(Options, description=__doc__))
    except RLPruneError as error:
        raise SystemExit(f"error: {error}") from None
