"""An agent is trained on a pool in parts, and goes on where it was interrupted."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import make_pool
import pytest
import train_agent
from train_agent import Options

from rlprune.agents import load_agent
from rlprune.config import ExperienceSettings, PPOSettings, PretrainingSettings
from rlprune.data import DataSplits
from rlprune.errors import RLPruneError, RunError
from rlprune.pool.folder import read
from rlprune.pool.problems import Draws
from rlprune.problem import Problem


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three networks that see digits once."""
    out = tmp_path_factory.mktemp("pools") / "pool"
    quick = {"presented": 1200, "least_accuracy": 0.15, "data": ("digits",)}
    make_pool.main(make_pool.Options(out=out, networks=3, families=("mlp", "plain"), **quick))
    return out


def options(pool: Path, out: Path, **changes: object) -> Options:
    few = Options(
        pool=pool,
        out=out,
        draws=Draws(budgets=2, timed=0),
        experience=ExperienceSettings(pairs=3),
        pretraining=PretrainingSettings(epochs=2),
        episodes=8,
        part=4,
        ppo=PPOSettings(hidden=8, episodes_per_update=4),
        images=32,
    )
    return few.model_copy(update=changes)


def test_an_agent_is_trained_in_parts_and_not_twice(
    pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: DataSplits
) -> None:
    asked = options(pool, tmp_path / "agent")
    train_agent.main(asked)
    parts = sorted(path.name for path in (tmp_path / "agent" / "parts").iterdir())
    assert parts == ["000", "001", "pretrained"]
    agent = load_agent(tmp_path / "agent")
    record = agent.trained_on
    assert record["networks"] == 3
    assert record["families"] == ["mlp", "plain"]
    problem = Problem.build("plain_cnn", digits, "macs=0.5", measure_latency=False)
    low, high = agent.kept["macs"]
    assert 0 < low < high <= 0.9
    agent.kept = {"macs": (0, 1)}
    plan = agent.propose(problem).plan
    assert problem.budget.usage(problem.costs, plan.widths) <= 1

    monkeypatch.setattr(train_agent, "explored", None)
    monkeypatch.setattr(train_agent, "train_agent", None)
    train_agent.main(asked)  # nothing is left to do
    with pytest.raises(TypeError):  # there would be, in another folder
        train_agent.main(options(pool, tmp_path / "other"))


def test_it_goes_on_after_the_parts_that_are_there(
    pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_agent.main(options(pool, tmp_path / "whole"))
    whole = load_agent(tmp_path / "whole").state()
    further, begun = train_agent.train_agent, []

    def interrupted(*arguments: object, **named: object) -> object:
        begun.append(named["seed"])
        if len(begun) == 2:
            raise KeyboardInterrupt
        return further(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(train_agent, "train_agent", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_agent.main(options(pool, tmp_path / "halves"))
    assert not (tmp_path / "halves" / "agent").exists()
    train_agent.main(options(pool, tmp_path / "halves"))
    assert begun == [0, 1, 1]
    halves = load_agent(tmp_path / "halves").state()
    assert all((halves[name] == values).all() for name, values in whole.items())


def test_other_options_are_another_training(pool: Path, tmp_path: Path) -> None:
    asked = options(pool, tmp_path / "agent", episodes=0)
    train_agent.main(asked)
    with pytest.raises(RunError, match="another --out"):
        train_agent.main(asked.model_copy(update={"seed": 1}))
    train_agent.main(asked.model_copy(update={"threads": 2}))


def test_what_is_held_out_is_not_trained_on(pool: Path, tmp_path: Path) -> None:
    train_agent.main(options(pool, tmp_path / "agent", families=("plain",), episodes=0))
    assert load_agent(tmp_path / "agent").trained_on["families"] == ["mlp"]


@pytest.mark.parametrize(
    ("after", "kept"), [((0.5, 0.5), True), ((-0.5, -0.5), False), ((0.9, -0.5), False)]
)
def test_what_ppo_did_not_make_better_is_dropped(
    after: tuple[float, ...],
    kept: bool,
    pool: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    further = train_agent.train_agent

    def judged(*arguments: object, **named: object) -> object:
        done = further(*arguments, **named)  # type: ignore[arg-type]
        return replace(done, deterministic=tuple((0.0, one) for one in after))

    monkeypatch.setattr(train_agent, "train_agent", judged)
    train_agent.main(options(pool, tmp_path / "agent"))
    before = load_agent(tmp_path / "agent" / "parts" / "pretrained").state()
    found = load_agent(tmp_path / "agent")
    same = all((found.state()[name] == values).all() for name, values in before.items())
    assert same != kept
    assert found.trained_on["episodes"] == (8 if kept else 0)


def test_as_many_episodes_as_asked_for_are_walked(
    pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    further, asked = train_agent.train_agent, []

    def counted(problems: object, episodes: int, **named: object) -> object:
        asked.append(episodes)
        return further(problems, episodes, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(train_agent, "train_agent", counted)
    train_agent.main(options(pool, tmp_path / "agent", episodes=12, part=8))
    assert asked == [8, 4]


@pytest.mark.parametrize("wrong", [{"families": ("plian",)}, {"pool": Path("nowhere")}])
def test_a_wrong_name_leaves_nothing_behind(
    wrong: dict[str, object], pool: Path, tmp_path: Path
) -> None:
    with pytest.raises(RLPruneError):
        train_agent.main(options(pool, tmp_path / "agent").model_copy(update=wrong))
    assert not (tmp_path / "agent").exists()


def test_another_pool_is_another_training(pool: Path, tmp_path: Path) -> None:
    asked = options(pool, tmp_path / "agent", episodes=0)
    train_agent.main(asked)
    moved = shutil.copytree(pool, tmp_path / "moved")
    train_agent.main(asked.model_copy(update={"pool": moved}))
    shutil.rmtree(moved / read(pool)[0].name)
    with pytest.raises(RunError, match="begun with other networks"):
        train_agent.main(asked.model_copy(update={"pool": moved}))


@pytest.mark.parametrize("text", ["{", "\x00"])
def test_a_damaged_config_is_said(text: str, pool: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(RunError, match=r"config.json is damaged; choose another --out"):
        train_agent.main(options(pool, tmp_path, episodes=0))
