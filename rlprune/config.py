"""Frozen, validated settings shared by the library and the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import tyro
from pydantic import BaseModel, ConfigDict, Field, model_validator
from tyro.conf import Positional

Quantity = Literal["macs", "params", "latency"]
"""What a budget may limit; 1 MAC = 2 FLOPs, latency as measured on the device."""

Runtime = Literal["eager", "compile", "onnxruntime"]
"""What runs a network while it is timed."""

Precision = Literal["auto", "float32", "bfloat16", "float16"]
"""Of the arithmetic of forward passes while plans are scored."""

Preset = Literal["seeds-survey", "soft-coefficient", "screening", "amc", "all"]
"""Comparisons that are known by name; see `rlprune.compare.presets`."""

ExportFormat = Literal["onnx", "torch-export"]
"""Files that a pruned model can be written as."""


MOST_SEED = 2**31
"""Seeds are below; NumPy's end at 2**32, and repetitions count on."""


class Settings(BaseModel):
    """Base of all settings: immutable; unknown keys and what is no finite number are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


class LatencySettings(Settings):
    """How latency is measured."""

    batch_size: int = Field(default=64, ge=1)
    """Samples per timed forward pass, of budgets and rewards."""
    report: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(1, 64), min_length=1)
    """Batch sizes that a report times."""
    rounds: int = Field(default=5, ge=3)
    """Interleaved rounds; the median over rounds is reported."""
    round_ms: float = Field(default=4.0, gt=0)
    """Least time, in milliseconds, that each model runs per round."""
    runtime: Annotated[Runtime, tyro.conf.arg(prefix_name=False)] = "eager"
    """What is timed: PyTorch as it is, torch.compile or ONNX Runtime (rlprune[export])."""


class EvaluationSettings(Settings):
    """How a plan is scored."""

    score: str = "repaired"
    """Search score, a loss: raw; kl or accuracy, after recalibration; repaired, after least squares
    too; distilled-10, -50 or -200 (steps after that); params, bottleneck, gradient-norm or synflow;
    learned, learned-repaired or learned-10 (kl, repaired or distilled-10, corrected)."""
    images: int | None = Field(default=None, ge=2)
    """Search samples that recalibrate and score every plan; by default 512, or fewer where the
    dense network would take more than 64 GMACs, but at least 16."""
    batch_size: int | None = Field(default=None, ge=2)
    """Samples per forward pass; by default 128 of 32 x 32, at least 32 and at most 512."""
    passes: Literal["shared", "separate"] = "shared"
    """Whether one pass over them both recalibrates BatchNorm and scores, or each has its own;
    both rank alike (benchmarks/passes.md)."""
    precision: Precision = "auto"
    """Of the forward passes; auto takes 16 bits where the device has instructions for them."""


class RewardSettings(Settings):
    """Weights of the terminal reward; every term is relative to the heuristic's plan."""

    quality: float = Field(default=1.0, ge=0)
    """Weight of log(heuristic score / score), the search score being a loss."""
    macs: float = Field(default=0.1, ge=0)
    """Weight of log(heuristic MACs / MACs)."""
    latency: float = Field(default=0.1, ge=0)
    """Weight of log(heuristic latency / latency), as a table measured on the device predicts it;
    rlprune train measures none where this is 0 and no budget limits latency."""
    clip: float = Field(default=2.0, gt=0)
    """The reward stays in [-clip, clip]."""


class PPOSettings(Settings):
    """Hyperparameters of PPO (Schulman et al., 2017) for short episodes with one reward."""

    learning_rate: float = Field(default=2e-3, gt=0)
    """Adam step size."""
    episodes_per_update: int = Field(default=8, ge=2)
    """Episodes collected before each update."""
    siblings: int = Field(default=4, ge=2)
    """Episodes of an update on one problem; each is judged by the mean return of the others."""
    n_epochs: int = Field(default=8, ge=1)
    """Passes over the collected episodes per update."""
    clip_range: float = Field(default=0.2, gt=0)
    """Largest change of the action probability ratio per update."""
    entropy_coefficient: float = Field(default=0.0, ge=0)
    """Weight of the entropy bonus."""
    initial_std: float = Field(default=0.15, gt=0, le=10)
    """Standard deviation of the actions at the start, in units of the action range."""
    hidden: int = Field(default=64, ge=2)
    """Units in each of the two hidden layers of policy and value function."""
    ranking: str = "layer-obs"
    """Criterion that ranks the channels of every group for the policy, and for the heuristic that
    it starts as."""
    description_scale: float = Field(default=1.0, gt=0, le=1)
    """What describes groups and networks is seen at this scale, beside what was measured of the
    group around the heuristic's plan. At a small one, a policy cannot tell the networks that it
    learns from apart by what they look like, which does not carry over to others."""

    @model_validator(mode="after")
    def _whole_families(self) -> Self:
        if self.episodes_per_update % self.siblings:
            raise ValueError(
                f"{self.episodes_per_update} episodes per update are not whole sets of "
                f"{self.siblings} siblings"
            )
        return self


class ExperienceSettings(Settings):
    """How plans are drawn that a policy learns from before its own are evaluated."""

    pairs: int = Field(default=32, ge=1)
    """Pairs of plans of each problem, on either side of the heuristic's."""
    spread: float = Field(default=0.25, gt=0)
    """Standard deviation of the actions of channels."""
    blocks: float = Field(default=1.0, ge=0)
    """Blocks that a pair removes or puts back, on average."""
    seed: int = Field(default=0, ge=0, lt=MOST_SEED)
    """Of the draws."""


class PretrainingSettings(Settings):
    """How a policy is fitted to experience."""

    epochs: int = Field(default=40, ge=0)
    """Passes over the experience."""
    batch: int = Field(default=64, ge=1)
    """Problems of a step."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """AdamW's step size."""
    weight_decay: float = Field(default=0.3, ge=0)
    """AdamW's."""
    kept_aside: float = Field(default=0.15, gt=0, lt=1)
    """Share of networks that choose the epoch."""
    caution: float = Field(default=2.0, gt=0)
    """How much sooner than the experience says changes cease to pay: the heuristic's plan is the
    best of several, and what it owes to chance is lost by any change."""


class RecipeSettings(Settings):
    """The standard fine-tuning recipe."""

    batch_size: int = Field(default=128, ge=2)
    """Images per step."""
    learning_rate: float = Field(default=0.05, gt=0)
    """Peak of the one-cycle schedule; runs of fewer than 240 steps have a lower one."""
    weight_decay: float = Field(default=5e-4, ge=0)
    """L2 penalty."""
    distillation: float = Field(default=0.5, ge=0, le=1)
    """Share of the distillation loss; the rest is the task's own loss."""


class TaskSettings(Settings):
    """What every command needs to know about data and machine."""

    data: str = "digits"
    """digits, fashion-mnist, cifar10, cifar100, imagefolder:DIR or path/to/file.py:factory."""
    data_dir: Path | None = None
    """Where data sets lie or are downloaded to."""
    image_size: int | None = Field(default=None, ge=8)
    """Resize images to this many pixels; by default each data set's own size."""
    weights: tuple[Path, ...] = ()
    """Trained weights, .safetensors or .pth, one file per model."""
    keep: tuple[str, ...] = ()
    """Layers that stay as they are, with all inside them: names, or patterns such as layer1.*."""
    residual_width: bool = False
    """Also prune the width that a LayerNorm averages over, such as that of a transformer."""
    device: str = "cpu"
    """Torch device, or auto."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads for evaluating and timing, of each worker; by default 2 if there are cores."""
    seed: int = Field(default=0, ge=0, lt=MOST_SEED)
    """Of search images, policy and fine-tuning; the data splits never change."""
    cache_dir: Path | None = None
    """Where profiles and latency tables are kept; rlprune in the user's cache folder by default."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """How plans are scored."""


class SearchSettings(TaskSettings):
    """What every command that evaluates plans needs to know besides."""

    workers: int = Field(default=1, ge=1)
    """Processes that evaluate plans; more give the same results sooner."""
    round_to: int | None = Field(default=None, ge=1)
    """Widths are multiples of this; by default of what the device takes at once, as measured, where
    a budget limits latency, and of 1 elsewhere."""
    latency: LatencySettings = LatencySettings()
    """How latency is measured."""
    latency_table: tuple[Path, ...] = ()
    """latency_table.json of an earlier run on this device, one file per model; measured anew, or
    taken from the cache, by default."""


class InspectSettings(TaskSettings):
    """Groups, cost shares, sensitivity, and what cannot be pruned and why."""

    model: str
    """Built-in name, torchvision:NAME, timm:NAME or path/to/file.py:factory."""
    sensitivity: bool = True
    """Measure what cutting each group alone to half, or removing each block alone, costs."""


class TrainSettings(SearchSettings):
    """Train an agent on one or more models and budgets."""

    model: tuple[str, ...] = Field(min_length=1)
    """Models: built-in names, torchvision:NAME, timm:NAME or path/to/file.py:factory."""
    budget: tuple[str, ...] = Field(default=("macs=0.5",), min_length=1)
    """Budgets to train on, such as macs=0.5 or macs=0.5,latency=0.6 when both must hold."""
    episodes: int = Field(default=400, ge=1)
    """Plans to try; every episode is one walk over the groups of one model."""
    out: Path
    """Run folder to write; must not exist yet."""
    resume: Path | None = None
    """Run folder whose agent is trained further."""
    ppo: PPOSettings = PPOSettings()
    """Hyperparameters of PPO."""
    reward: RewardSettings = RewardSettings()
    """Weights of the reward."""


class ApplySettings(SearchSettings):
    """Prune a model with a trained agent; nothing is trained but the optional fine-tuning."""

    agent: Positional[str] = "default"
    """Agent folder, the run folder of a training, or a strategy such as heuristic or global-taylor;
    the agent that ships with rlprune by default."""
    model: str
    """Built-in name, torchvision:NAME, timm:NAME or path/to/file.py:factory."""
    budget: str | None = None
    """What may be kept, such as macs=0.5 or macs=0.5,latency=0.6 when both must hold; macs=0.5 by
    default, macs=1 with constraints."""
    constraint: tuple[str, ...] = ()
    """Ask for the smallest network, in the first quantity of the budget, that keeps these on the
    validation split before fine-tuning: worst_recall>=0.8, or accuracy_drop<=0.01 against the dense
    network; of accuracy, macro_recall, worst_recall, agreement and psnr_db."""
    evaluations: int = Field(default=0, ge=0)
    """Plans to measure beside the agent's profile before choosing, with constraints at each kept
    fraction that is tried."""
    adapt: int = Field(default=0, ge=0)
    """Episodes that a trained agent is first trained further on this network and budget, with
    constraints at each kept fraction that is tried."""
    finalists: int = Field(default=1, ge=1, le=16)
    """Best plans by search score, the heuristic's among them, that are fine-tuned for 50 steps,
    after their latency was confirmed where the budget limits it; the validation split chooses. 1
    takes the best by search score."""
    finetune_epochs: int = Field(default=0, ge=0)
    """Epochs of the standard recipe after pruning."""
    out: Path
    """Run folder to write; must not exist yet."""
    recipe: RecipeSettings = RecipeSettings()
    """The fine-tuning recipe."""


class CompareSettings(SearchSettings):
    """Compare methods on the same networks, budgets, evaluations and fine-tuning.

    Uniform widths, and their network trained from new weights, are always among the rows. A run
    that was interrupted goes on when the same command is typed again; it may then name more
    methods, and more seeds.

    Presets fill in what is not typed. seeds-survey: magnitude and SNIP, as channel criteria (the
    lottery ticket needs masks, which are not there yet). soft-coefficient: an autoencoder by PSNR
    at half the parameters, ratios found by grid, gradient and chance. screening: an MLP and a CNN,
    channels ranked class by class, by size, and by both. amc: DDPG on a MobileNet-like network at
    half the MACs beside the heuristics. all: every strategy at five budgets.
    """

    preset: Preset | None = None
    """Fills in models, methods and budgets that are not typed."""
    model: tuple[str, ...] = ()
    """Models: built-in names, torchvision:NAME, timm:NAME or path/to/file.py:factory."""
    budget: tuple[str, ...] = ()
    """Budgets to compare at, such as macs=0.5 or macs=0.5,latency=0.6 when both must hold."""
    methods: tuple[str, ...] = ()
    """Strategies, such as sensitivity, random, global-taylor; or agent folders. METHOD@N has N
    evaluations beside its profile, whatever --evaluations says; of METHOD@N/K's K best plans,
    validation chooses one after 50 steps of fine-tuning, as --finalists of apply does."""
    seeds: int = Field(default=3, ge=1)
    """Repetitions: of search images, strategies and fine-tuning; they count from --seed."""
    evaluations: int = Field(default=200, ge=0)
    """Plans that each method may measure, those of a profile that it uses included. A method whose
    profile alone takes more is left out."""
    finetune_steps: int | None = Field(default=None, ge=0)
    """Steps of the standard recipe; 5 epochs, at most 240 steps, by default; 0 leaves it out."""
    quick_finetune: bool = True
    """Also fine-tune by 50 steps with batches of 64."""
    threads: int | None = Field(default=1, ge=1)
    """CPU threads of each worker; results are the same for any number of workers."""
    out: Path
    """Run folder to write, or to go on with."""
    recipe: RecipeSettings = RecipeSettings()
    """The fine-tuning recipe."""


class DemoSettings(Settings):
    """The main job on digits: train an agent, apply it to two networks, report."""

    out: Path | None = None
    """Run folder to write; runs/demo, or the next free name, by default."""
    episodes: int = Field(default=300, ge=1)
    """Plans to train the agent on."""
    threads: int = Field(default=1, ge=1)
    """CPU threads for evaluating and timing; networks this small gain nothing from more."""
    seed: int = Field(default=0, ge=0, lt=MOST_SEED)
    """Of everything."""


class ExportSettings(Settings):
    """Write a pruned model as a file that runs without rlprune, and compare it with the model."""

    run: Positional[Path]
    """Run folder of apply, or its model folder."""
    format: ExportFormat
    """onnx (needs the extra rlprune[export]) or torch-export."""
    out: Path | None = None
    """Folder to write; must not exist yet; RUN/export by default."""


class ReviewSettings(Settings):
    """Summarise runs in the terminal and open TensorBoard on them."""

    runs: Positional[tuple[Path, ...]] = Field(min_length=1)
    """Run folders of train, apply or demo."""
    tensorboard: bool = True
    """Start TensorBoard and keep it up until Ctrl-C (only in a terminal)."""
    port: int = Field(default=6006, ge=0)
    """TensorBoard's port; 0 takes any free one."""
