"""Which runs may be averaged, which arms get a longer name, and which runs are refused."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from posenc.report.numbers.compare import Comparison, compare
from tests.report.conftest import Make


def read(root: Path, baseline: str | None = None) -> Comparison:
    return compare([root], baseline, 0.01)


def test_a_swept_value_becomes_part_of_the_name_and_pairs_with_its_like(run: Make, root: Path) -> None:
    for layers in (2, 4):
        for seed in range(3):
            config = {"model.num_layers": layers}
            run("none", seed, 0.1, name=f"layers{layers}", config=config)
            run("rope", seed, 0.2 * layers + 0.01 * seed, name=f"layers{layers}", config=config)
    comparison = read(root)
    (facet,) = comparison.facets
    names = {f"{encoding} (model.num_layers={layers})" for encoding in ("none", "rope") for layers in (2, 4)}
    assert set(facet.arms) == names
    pairs = {one.arm: one.baseline for one in comparison.contrasts}
    assert pairs == {f"rope (model.num_layers={n})": f"none (model.num_layers={n})" for n in (2, 4)}
    assert len(comparison.findings) == 2  # one for each setting: the settings are not compared with each other
    assert not comparison.notes


def test_values_that_change_together_are_named_once(run: Make, root: Path) -> None:
    for steps, lr in ((100, 0.1), (200, 0.2)):
        config = {"trainer.max_steps": steps, "optimizer.lr": lr, "data.batch_size": steps}
        run("rope", 0, 0.5, name=str(steps), config=config)
    assert set(read(root).facets[0].arms) == {"rope (trainer.max_steps=100)", "rope (trainer.max_steps=200)"}


SOLVED = {"_target_": "posenc.training.stopping.criterion.Solved", "skill": 0.99, "times": 2, "decay_steps": 200}
TRAIN = "python train.py encoding=rope seed=0"


@pytest.mark.parametrize(
    ("stops", "names"),
    [
        ({"stop=none": None, "stop=solved": SOLVED}, {"rope", "rope (stop=solved)"}),
        ({"": None, "stop=solved stop.skill=.95": SOLVED | {"skill": 0.95}}, {"rope", "rope (stop=solved)"}),
        (
            {"stop=solved_95": SOLVED | {"skill": 0.95}, "+stop=solved": SOLVED, "stop=none": None},
            {"rope", "rope (stop=solved)", "rope (stop=solved_95)"},
        ),
        # one word does not separate these
        (
            {"stop=solved": SOLVED, "stop=solved stop.times=3": SOLVED | {"times": 3}},
            {"rope (stop.times=2)", "rope (stop.times=3)"},
        ),
        # a file or a value may have set what no word names
        ({"experiment=mine": SOLVED, "stop=none": None}, {"rope", "rope (stop.decay_steps=200)"}),
        ({"stop.skill=.9": SOLVED | {"skill": 0.9}, "stop=none": None}, {"rope", "rope (stop.decay_steps=200)"}),
        ({"'": SOLVED, "stop=none": None}, {"rope", "rope (stop.decay_steps=200)"}),
    ],
)
def test_an_option_of_a_group_names_the_arm_if_this_word_tells_it_apart(
    run: Make, root: Path, stops: dict[str, dict[str, Any] | None], names: set[str]
) -> None:
    for number, (word, stop) in enumerate(stops.items()):
        run("rope", 0, 0.5, name=str(number), config={"stop": stop}, command=f"{TRAIN} {word}")
    comparison = read(root)
    assert set(comparison.facets[0].arms) == names
    (root / "table.csv").write_text(comparison.long.to_csv(index=False))
    assert set(read(root / "table.csv").facets[0].arms) == names


def test_a_default_that_was_not_typed_needs_no_word(run: Make, root: Path) -> None:
    for word, gate, norm in (("", None, "pre"), ("model=llama", "silu", "rms")):
        config = {"model.mlp_gate": gate, "model.norm": norm}
        run("rope", 0, 0.5, name=norm, config=config, command=f"{TRAIN} {word}")
    (run("rope", 1, 0.5, name="rms", config=config) / "result.json").unlink()  # it is still running
    assert set(read(root).facets[0].arms) == {"rope", "rope (model=llama)"}


def test_what_follows_from_the_model_is_not_named_twice(run: Make, root: Path) -> None:
    for dim in (32, 64):
        run("rope", 0, 0.5, name=str(dim), config={"model.dim": dim, "encoding.dim": dim})
    assert set(read(root).facets[0].arms) == {"rope (model.dim=32)", "rope (model.dim=64)"}


def test_an_encoding_s_own_value_names_only_its_arms(run: Make, root: Path) -> None:
    run("none", 0, 0.1)
    for base in (100, 10000):
        run("rope", 0, 0.5, name=str(base), config={"encoding.base": base})
    comparison = read(root)
    assert set(comparison.facets[0].arms) == {"none", "rope (encoding.base=100)", "rope (encoding.base=10000)"}
    assert {one.baseline for one in comparison.contrasts} == {"none"}


def test_a_value_that_is_null_is_named_only_where_nothing_else_tells_the_arms_apart(run: Make, root: Path) -> None:
    for number, (window, own) in enumerate(((None, 1), (8, 1), (None, None), (8, None))):
        config = {"model.window": window, "model.encoding_per_layer": own}
        run("fire", 0, 0.5, name=str(number), config=config)
    names = {"fire", "fire (model.window=8)", "fire (model.encoding_per_layer=1)"}
    assert set(read(root).facets[0].arms) == names | {"fire (model.encoding_per_layer=1, model.window=8)"}


def test_null_and_no_value_are_two_names(run: Make, root: Path) -> None:
    run("fire", 0, 0.5, name="without")
    run("fire", 0, 0.6, name="null", config={"model.own": None})
    run("fire", 0, 0.7, name="some", config={"model.own": 3})
    arms = read(root).facets[0].arms
    assert len(arms) == 3
    assert "fire (model.own=None)" in arms


def test_dataset_values_make_facets(run: Make, root: Path) -> None:
    for length in (16, 32):
        run("rope", 0, 0.5, name=str(length), config={"dataset.length": length}, trained_lengths=[length, length])
    assert [facet.dataset for facet in read(root).facets] == [
        "pattern (dataset.length=16)", "pattern (dataset.length=32)",
    ]  # fmt: skip


def test_other_test_lengths_are_the_same_training(run: Make, root: Path) -> None:
    run("rope", 0, {32: 0.5})
    run("rope", 1, {32: 0.6, 64: 0.4}, config={"dataset.test_lengths": [32, 64]})
    run("rope", 2, {32: 0.6}, config={"data.eval_size": 9})
    (facet,) = read(root).facets
    assert facet.arms == ["rope"]
    assert facet.values("rope") == {0: 0.5, 1: 0.6, 2: 0.6}


def test_one_seed_measured_in_two_ways_is_two_arms(run: Make, root: Path) -> None:
    for size in (100, 500):
        run("rope", 0, 0.5, name=str(size), config={"data.eval_size": size})
    assert set(read(root).facets[0].arms) == {"rope (data.eval_size=100)", "rope (data.eval_size=500)"}


def test_runs_that_nothing_tells_apart_are_refused_and_named(run: Make, root: Path) -> None:
    for seed in range(3):
        run("none", seed, 0.1)
        run("rope", seed, 0.5 + 0.01 * seed)
    other = run("rope", 1, 0.9, name="again", config_hash="different")
    comparison = read(root)
    (note,) = comparison.notes
    assert "refused" in note.text
    assert str(other) in note.folder
    assert comparison.facets[0].values("rope") == {0: 0.5, 2: 0.52}
    assert sum(one.why.startswith("refused") for one in comparison.lost) == 2
    assert comparison.contrasts[0].difference.seeds == (0, 2)


def test_exact_duplicates_count_once(run: Make, root: Path) -> None:
    folder = run("rope", 0, 0.5)
    run("rope", 1, 0.7)
    shutil.copytree(folder, root / "copy" / "pattern" / "rope" / "seed0")
    comparison = read(root)
    assert comparison.facets[0].values("rope") == {0: 0.5, 1: 0.7}
    (note,) = comparison.notes
    assert "counted once" in note.text
    assert "differ" not in note.text
    assert comparison.lost == []


def test_of_a_failed_run_and_its_repetition_the_repetition_counts(run: Make, root: Path) -> None:
    folder = run("rope", 0, 0.5, sweep="b")
    run("rope", 0, sweep="a", status="failed", error="disk full", config_hash="same")
    path = folder / "result.json"
    path.write_text(path.read_text().replace('"config_hash": ', '"config_hash": "same", "was": '))
    comparison = read(root)
    assert comparison.facets[0].values("rope") == {0: 0.5}
    assert "same run as" in comparison.notes[0].text


def test_a_lost_config_is_said_and_joins_its_only_arm(run: Make, root: Path) -> None:
    run("rope", 0, 0.5)
    (run("rope", 1, 0.7) / ".hydra" / "config.yaml").unlink()
    comparison = read(root)
    assert comparison.facets[0].values("rope") == {0: 0.5, 1: 0.7}
    assert "config.yaml is missing; it is counted as rope" in comparison.notes[0].text


def test_a_run_that_failed_before_its_config_was_recorded_refuses_no_other(run: Make, root: Path) -> None:
    for arm, skill in (("none", 0.1), ("rope", 0.9)):
        for seed in range(3):
            run(arm, seed, skill + 0.01 * seed, name="optimizer.lr=0.003")
            folder = run(arm, seed, name="optimizer.lr=fast", error="lr is no number", config_hash=f"{arm}{seed}")
            (folder / ".hydra" / "config.yaml").unlink()
    comparison = compare([root], None, 0.01)
    assert comparison.first.text.startswith("On pattern, rope has the highest skill at length 32, 0.910 ")
    assert {one.status for one in comparison.lost} == {"failed"}
    assert {one.why for one in comparison.lost} == {
        "refused: it failed before its config was recorded (lr is no number)"
    }


def test_a_lost_config_among_several_arms_is_refused(run: Make, root: Path) -> None:
    for layers in (2, 4):
        run("rope", 0, 0.5, name=str(layers), config={"model.num_layers": layers})
    (run("rope", 1, 0.7) / ".hydra" / "config.yaml").unlink()
    comparison = read(root)
    assert any("several arms have its name" in note.text for note in comparison.notes)
    assert all(1 not in facet.values(arm) for facet in comparison.facets for arm in facet.arms)


def test_what_averaged_runs_were_made_with_is_named_where_it_differs(run: Make, root: Path) -> None:
    for seed, (torch_version, precision) in enumerate([("2.6", "32-true"), ("2.7", "32-true"), ("2.7", "bf16-mixed")]):
        run("rope", seed, 0.9, versions={"torch": torch_version}, precision=precision)
    comparison = read(root)
    assert {"rope (trainer.precision=32-true)", "rope (trainer.precision=bf16-mixed)"} == set(comparison.facets[0].arms)
    texts = [note.text for note in comparison.notes]
    assert texts[1:] == ["runs that are averaged were made with different torch: 2.6 and 2.7."]


def test_what_was_computed_decides_not_what_was_typed(run: Make, root: Path) -> None:
    for seed, (typed, used) in enumerate([("auto", "32-true"), ("32-true", "32-true"), ("auto", None)]):
        given = {} if used is None else {"precision": used}
        run("rope", seed, 0.9, config={"trainer.precision": typed}, **given)
    assert list(read(root).facets[0].arms) == ["rope"]


def test_weights_of_a_seed_are_one_arm_and_a_path_with_other_weights_another(run: Make, root: Path) -> None:
    for seed in range(3):
        run("rope", seed, 0.5, config={"start_from": f"a/rope/seed{seed}/last.ckpt"}, start_digest=f"d{seed}")
        run("t5", seed, 0.5, config={"start_from": "a/last.ckpt"}, start_digest="old" if seed else "new")
    (facet,) = read(root).facets
    assert {arm: len(facet.values(arm)) for arm in facet.arms} == {
        "rope": 3,
        "t5 (start_from.digest=new)": 1,
        "t5 (start_from.digest=old)": 2,
    }


def test_arms_that_each_began_with_their_own_weights_are_compared(run: Make, root: Path) -> None:
    for seed in range(3):
        for arm, score in (("rope", 0.5 + 0.01 * seed), ("t5", 0.7)):
            path = f"a/{arm}/seed{seed}/last.ckpt"
            run(arm, seed, score, config={"start_from": path}, start_digest=f"{arm}{seed}")
    comparison = read(root)
    assert set(comparison.facets[0].arms) == {"rope", "t5"}
    assert comparison.contrasts[0].difference.seeds == (0, 1, 2)


def test_an_arm_that_began_with_other_weights_says_so_and_is_not_averaged_with_others(run: Make, root: Path) -> None:
    for seed in range(3):
        run("rope", seed, 0.5 + 0.01 * seed)
        run("rope", seed, 0.9 + 0.01 * seed, name="more", config={"start_from": "a/last.ckpt"})
        run("t5", seed, 0.7)
    comparison = read(root)
    (facet,) = comparison.facets
    assert set(facet.arms) == {"rope", "rope (start_from=a/last.ckpt)", "t5"}
    assert [len(facet.values(arm)) for arm in facet.arms] == [3, 3, 3]
    assert "rope (start_from=a/last.ckpt)" in comparison.first.text
