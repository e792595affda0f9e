"""Command lines that a person may type by mistake or on purpose: options of every group, then values of every kind."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from hydra import compose, initialize_config_dir
from hypothesis import strategies as st
from omegaconf import OmegaConf

from tests.conftest import CONFIGS, options

BOOK = "../book.txt"
"""A small corpus, seen from the folder in which a command is given."""

SMALL = (
    "model.dim=16", "model.num_heads=2", "model.num_layers=1", "dataset.length=32", "dataset.test_lengths=[40]",
    "data.batch_size=4", "data.eval_size=16", "trainer.max_steps=2", "trainer.validate_every=2",
    "trainer.checkpoint_every=2", "trainer.log_every=1",
)  # fmt: skip
"""Stands before what is drawn, so that what is drawn wins."""

GROUPS = ("encoding", "dataset", "positions", "callbacks", "profile", "model", "logger", "trainer")
LEFT_OUT = {"logger": {"wandb", "mlflow", "trackio"}}
"""Options that need packages or servers of their own."""

WHOLE = (0, 1, 2, 3, 4, 5, 7, 8, 10, 16, 20, 32, 33, 40, 64, -1, -2, -7)
LARGE = (10**9, 2**31, 2**40, 2**63 - 1, 2**63, 2**64, 10**30, -(10**30))
REAL = (0.0, 0.5, 1.0, 1.5, 2.0, 4.0, 0.1, 1e-3, 1e-9, 1e-320, 1e9, 1e38, 1e300, 1e308, -1.0, -0.5, -1e308)
ODD = ("nan", "inf", "-inf", "1e400", "null", "true", "false", "''", '""', "é", "位置", "'a b'", "a/b", "None", "1.0.0")
WORDS = (
    "pre", "post", "none", "mean", "last", "query", "per_token", "input", "every_layer", "attention", "half_split",
    "interleaved", "raw", "explicit", "flex", "fused", "sdpa", "toeplitz", "even", "random", "log", "linear", "auto",
    "16-mixed", "64-true", "bf16-true", "bf16-mixed", "bf16-linear", "32-true", "cpu", "gpu", "cuda", "tpu", "mps",
    "+-", "'*'", "abacus", "rope", "seed", "fast", "posenc", "posenc.nothing.At.All", "os", BOOK,
    "/dev/null", "/nowhere",
)  # fmt: skip
RIGHT = {
    "norm": ("pre", "post", "none"), "readout": ("mean", "last", "query", "per_token", "${dataset.readout}"),
    "inject": ("input", "every_layer", "attention"), "layout": ("half_split", "interleaved"),
    "attention": ("auto", "explicit", "flex", "fused", "sdpa", "toeplitz"), "at_test": ("even", "random"),
    "precision": ("auto", "64-true", "bf16-true", "bf16-mixed", "bf16-linear", "32-true", "16-mixed"),
    "accelerator": ("auto", "cpu"), "causal": ("true", "false"), "rms": ("raw", "0.5", "2"),
    "encoding_per_layer": ("true", "false", "null"), "residual": ("true", "false", "0.5", "0"),
    "test_lengths": ("[32]", "[40,33]", "null"), "length": ("32", "[24,32]", "40", "16"), "window": ("0", "3", "null"),
    "dim": ("${model.dim}", "16", "32", "8"), "num_heads": ("${model.num_heads}", "1", "4"), "force": ("true", "false"),
    "ckpt_path": ("null", "/nowhere"), "study": ("null",), "threads": ("1", "2", "null"), "fused": ("true", "false"),
    "save_dir": ("run", "${hydra:runtime.output_dir}"), "original_length": ("32", "${dataset.length}", "[24,32]"),
    "train_size": ("4", "7", "null"), "distance": ("null", "1", "5"), "num_values": ("null", "5", "20"),
}  # fmt: skip
"""What belongs there, by the last word of a key whose value now does not tell."""
LISTS = (
    "[]", "[[]]", "[4,16]", "[32,64]", "[64,32]", "[32]", "[1,2,3]", "[-1,32]", "[24,1.5]", "[a,b]", "[null]", "[true]",
    "[32,[64]]", "[[3,7],[9,13]]", "[[3,7],[3,7]]", "[-2,-1,1,2]", "[[1,2,3]]", "[0,0]", "[nan]", "[{a:1}]", "['']",
    "[1000000000]", "[1,1000000000000000000000000000000]", "[32,a]",
)  # fmt: skip
DICTS = ("{}", "{a:1}", "{a:{b:[1,null]}}", "{a:nan}", "{1:2}")
INTERPOLATIONS = (
    "${seed}", "${dataset.length}", "${model.dim}", "${model}", "${encoding}", "${nowhere}", "${encoding.nothing}",
    "${trainer.max_steps}", "${now:%Y}", "${nothing:1}", "${hydra:runtime.choices.encoding}", "'x${seed}y'", "${",
    "${}", "${data.batch_size}", "${dataset.causal}", "${optimizer.lr}",
)  # fmt: skip
BROKEN = (
    "[1,", "{a:", "(", ")", "'", '"', "a=b", "=", "1,2", "a,b", "\\", "#", "range(1,3)", "choice(1,2)", " ", "", "$",
)  # fmt: skip
NO_OPTIONS = ("nowhere", "", "3", "[]", "[a,b]", "[1,2]", "null", "../trainer", "é", "ropee")

HONEST = {
    "trainer.max_steps", "trainer.validate_every", "trainer.checkpoint_every", "trainer.log_every",
    "data.eval_tokens", "data.eval_tokens_per_batch", "data.validation_size", "module.warmup_steps", "seed",
}  # fmt: skip
"""Counts that no memory limits: a large one is a long run, and no mistake; only what no number holds is drawn."""
STEPS = {"trainer.max_steps", "model.num_layers", "data.curriculum_steps"}
"""Time grows with them, so that what is drawn is small or absurd."""


def walk(node: dict[Any, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every key below `node`, those of groups included, with what stands there."""
    for key, value in node.items():
        yield f"{path}{key}", value
        if isinstance(value, dict):
            yield from walk(value, f"{path}{key}.")


@cache
def base() -> dict[str, Any]:
    """Every key of the config that stands whatever is chosen."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        plain: Any = OmegaConf.to_container(compose("train"), resolve=False)
    chosen = ("encoding.", "dataset.", "positions.")
    return {name: now for name, now in walk(plain) if not name.startswith(chosen)}


@cache
def keys(word: str) -> dict[str, Any]:
    """Every key that the option `word`, such as encoding=rope, brings with it."""
    group, option = word.split("=")
    plain: Any = OmegaConf.to_container(OmegaConf.load(CONFIGS / group / f"{option}.yaml"))
    plain.pop("defaults", None)
    return dict(walk(plain, f"{group}."))


@st.composite
def choices(draw: st.DrawFn, processes: bool) -> tuple[str, ...]:
    """Options of some groups; with `processes` now and then two processes."""
    chosen = []
    for group in GROUPS:
        names = sorted(set(options(group)) - LEFT_OUT.get(group, set()))
        if group == "trainer":
            names = ["ddp"] if processes and draw(st.integers(0, 99)) == 17 else ["default"]
        if group == "callbacks" and draw(st.integers(0, 3)) < 3:
            names = ["quiet"]
        if group in ("encoding", "dataset", "callbacks") or draw(st.booleans()):
            chosen.append(f"{group}={draw(st.sampled_from(names))}")
    return tuple(chosen)


def values(key: str, now: Any) -> st.SearchStrategy[str]:
    """What may be typed for a key: often of the type of what stands there, `now`, else of any."""
    small = [value for value in WHOLE if key not in STEPS or value <= 5]
    whole = st.sampled_from(small)
    large = st.sampled_from([value for value in LARGE if key not in HONEST | STEPS or not 0 < value < 2**63])
    number = whole.map(str) | large.map(str)
    real = st.sampled_from(REAL).map(repr)
    if key == "trainer.devices":  # more processes than cores are refused, but two are work
        number = st.sampled_from(("-1", "0", "1", "1000000000", str(10**30)))
        real = st.sampled_from(("1.0", "1.5", "inf"))
    elif key in HONEST | STEPS:
        real = st.sampled_from(("0.5", "1.0", "2.0", "-1.0", "inf", "nan"))
    odd, words, lists = (st.sampled_from(pool) for pool in (ODD, WORDS, LISTS))
    wild = odd | words | lists | st.sampled_from(DICTS) | st.sampled_from(INTERPOLATIONS) | number | real
    if key == "trainer.devices":  # a reference to another number, or a list, would ask for as many devices
        wild = odd | st.sampled_from(("auto", "[]", "{a:1}", "[a]", "'2'")) | number | real
    if key == "trainer.devices":
        fitting = number
    elif key.rpartition(".")[2] in RIGHT:
        fitting = st.sampled_from(RIGHT[key.rpartition(".")[2]]) | whole.map(str)
    elif isinstance(now, bool):
        fitting = st.sampled_from(("true", "false"))
    elif isinstance(now, int):
        fitting = whole.map(str)
    elif isinstance(now, float):
        fitting = real | whole.map(str)
    elif isinstance(now, list):
        fitting = lists
    elif isinstance(now, str):
        fitting = words
    else:
        fitting = whole.map(str) | words | lists
    broken = st.sampled_from(BROKEN) if key != "trainer.devices" else odd
    return st.integers(0, 29).flatmap(lambda kind: broken if kind == 29 else wild if kind > 20 else fitting)


@cache
def known(choice: tuple[str, ...], kind: int) -> list[tuple[str, Any]]:
    """Keys to draw from: now and then whole groups and classes, or what watches a run; mostly what is trained."""
    found = dict(base())
    for word in choice:
        found |= keys(word)
    if kind:
        found = {n: now for n, now in found.items() if not isinstance(now, dict) and not n.endswith("_target_")}
    if kind > 2:
        found = {n: now for n, now in found.items() if not n.startswith(("callbacks", "logger"))}
    return sorted(found.items())


@st.composite
def drawn(draw: st.DrawFn, choice: tuple[str, ...]) -> str:
    """One override: mostly of a key that exists, now and then of one that does not, one more, or one less."""
    key, now = draw(st.sampled_from(known(choice, draw(st.integers(0, 9)))))
    kind = draw(st.integers(0, 79))
    if kind == 0:
        return f"~{key}"
    if kind == 1:
        wrong = draw(st.sampled_from((f"{key}x", f"{key}.x", f"x.{key}", key[1:] or "x", key.upper())))
        return f"{wrong}={draw(values(wrong, now))}"
    if kind == 2:
        more = draw(st.sampled_from((f"{key}.colour", f"{key}_more", "colour", key)))
        return f"{draw(st.sampled_from(('+', '++')))}{more}={draw(values(key, now))}"
    if kind == 3:
        group = draw(st.sampled_from((*GROUPS, "experiment", "launcher")))
        return f"{group}={draw(st.sampled_from(NO_OPTIONS))}"
    return f"{key}={draw(values(key, now))}"


@st.composite
def commands(draw: st.DrawFn, processes: bool = False) -> tuple[str, ...]:
    """The words after `python train.py`."""
    choice = draw(choices(processes))
    small = (*SMALL, f"dataset.path={BOOK}") if "dataset=text" in choice else SMALL
    overrides = draw(st.lists(drawn(choice), min_size=1, max_size=4))
    folder = () if any("name=" in word for word in overrides) else ("hydra.run.dir=run",)
    return (*choice, *small, *overrides, *folder)
