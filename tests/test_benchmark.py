"""The benchmark times what it is asked to, beside no encoding under the same mask. No time is tested."""

import pytest

from posenc import benchmark


def test_each_encoding_is_timed_beside_none(capsys: pytest.CaptureFixture[str]) -> None:
    benchmark.main(["rope", "cope", "--rounds", "3", "--length", "21"])
    lines = {words[0]: words for line in capsys.readouterr().out.splitlines() if len(words := line.split()) > 4}
    assert {"rope", "cope", "none"} <= lines.keys()
    assert lines["none"][-1] == "1.00"
    assert float(lines["cope"][-1]) > 0


def test_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in ((["roqe"], "Did you mean rope?"), (["--rounds", "0"], "rounds must be a whole number ≥ 1")):
        with pytest.raises(SystemExit) as stop:
            benchmark.main(words)
        assert stop.value.code == 2
        assert message in capsys.readouterr().err
