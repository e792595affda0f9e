"""The registry of published claims: recomputed from committed tables, shown as a table, a page and in README."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from posenc.checks import ConfigError
from posenc.published import registry
from posenc.published.write import judge, page
from posenc.statistics.claims import REPRODUCED
from posenc.statistics.measurements import Measurements
from tests.conftest import CONFIGS, ROOT, Launch
from tests.report.conftest import Make


@pytest.mark.slow
def test_the_registry_recomputes_verdicts(
    run: Make, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "repeats_need_position"
    claim = registry.claim_of(CONFIGS / "claim" / f"{name}.yaml")
    for seed in range(10):
        run("rope", seed, {20: 0.9, 40: 0.5}, dataset="copy_repeats")
        run("none", seed, {20: 0.3 + 0.01 * seed, 40: 0.1}, dataset="copy_repeats")
    (tmp_path / "out" / name).mkdir(parents=True)
    judge(claim, name, [root], tmp_path / "out" / name, f"python train.py claim={name}")
    found = [one for one in registry.entries(tmp_path / "out") if one.name == name]
    assert found[0].verdict is not None
    assert found[0].verdict.outcome == REPRODUCED
    assert f"[{claim.judged.statement}]({name}/claim.md). `{name}`" in registry.page(found)
    registry.show(about="nape")
    assert "nape_copies_far" in capsys.readouterr().out
    registry.show(about="offset_indexing")  # the data set of all arms
    assert "pope_reads_offsets" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="claims: --about=750 is not one of") as refused:
        registry.show(about="750")  # a value of another key
    offered = str(refused.value).partition("one of ")[2].split(". ")[0].rstrip(".").split(", ")
    names = {file.stem for group in registry.ABOUT for file in (CONFIGS / group).glob("*.yaml")}
    assert {word for name in offered for word in name.split("-")} <= names


def test_a_claim_of_ones_own_folder_is_listed_and_found(
    command: Launch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "claim").mkdir()
    text = (CONFIGS / "claim" / "parity_does_not_generalise.yaml").read_text()
    (tmp_path / "claim" / "my_own.yaml").write_text(text)
    registry.show(about="parity", config_dir=tmp_path)
    listed = capfd.readouterr().out
    assert re.search("my_own +not judged", listed)
    assert "parity_does_not_generalise" in listed
    words = f"--config-dir={tmp_path}", "claim=my_own", "profile=smoke", f"hydra.sweep.dir={tmp_path / 's'}"
    status, errors = command(*words, "encoding=t5")
    assert status == 2
    assert "claim=my_own compares its arms rope" in errors
    with pytest.raises(ConfigError, match="has no folder `claim`"):
        registry.show(config_dir=tmp_path / "claim")
    (tmp_path / "claim" / "worse.yaml").write_text(text.replace("smallest_effect: ", "smallest_effect: -"))
    with pytest.raises(ConfigError, match=r"worse\.yaml: .*smallest_effect must be a number > 0"):
        registry.show(config_dir=tmp_path)


def test_a_claim_of_ones_own_with_the_name_of_one_of_ours_is_refused(command: Launch, tmp_path: Path) -> None:
    ours = CONFIGS / "claim" / "parity_does_not_generalise.yaml"
    own = tmp_path / "claim" / ours.name
    own.parent.mkdir()
    own.write_text(ours.read_text())
    assert any(one.name == ours.stem for one in registry.entries(own=tmp_path))  # a copy is the same claim
    own.write_text(ours.read_text().replace("smallest_effect: ", "smallest_effect: 0"))
    why = f"{own} is never read, because claim={own.stem} is {ours}; give your file another name."
    with pytest.raises(ConfigError, match=re.escape(why)):
        registry.show(config_dir=tmp_path)
    status, errors = command(f"--config-dir={tmp_path}", f"claim={own.stem}", f"hydra.sweep.dir={tmp_path / 's'}")
    assert (status, errors) == (2, f"error: {why}\n")
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
def test_the_page_is_the_registry(capsys: pytest.CaptureFixture[str]) -> None:
    registry.show(markdown=True)
    assert (ROOT / "docs" / "claims" / "README.md").read_text() == capsys.readouterr().out


@pytest.mark.slow
def test_readme_has_the_tally() -> None:
    readme = " ".join((ROOT / "README.md").read_text().split())
    found = [*registry.entries()]
    assert f"**{len(found)} published claims**" in readme
    assert registry.tally(found) in readme


@pytest.mark.parametrize("folder", sorted((ROOT / "docs" / "claims").glob("*/")), ids=lambda folder: folder.name)
def test_a_committed_page_and_verdict_follow_from_the_table(folder: Path) -> None:
    claim = registry.claim_of(CONFIGS / "claim" / f"{folder.name}.yaml")
    found = Measurements.read((folder / "claim.csv").read_text())
    record = json.loads((folder / "verdict.json").read_text())
    verdict = claim.verdict(found)
    for name, value in asdict(verdict).items():  # a table has six digits
        assert record[name] == (pytest.approx(value, abs=1e-5) if isinstance(value, float) else value), name
    assert (folder / "claim.md").read_text() == page(claim, verdict, found, record["notes"], record)
