"""Flags that have other names now are answered by one line that says the new one."""

from __future__ import annotations

import pytest

from xcore.cli.main import main


@pytest.mark.parametrize(
    ("words", "new"),
    [
        (["--baselines", "noise"], "--baselines is now called --controls (write --controls noise)"),
        (["--baselines", ""], "--baselines is now called --controls (write --controls '')"),
    ],
)
def test_an_old_flag_names_the_new_one(monkeypatch, capsys, words, new):
    monkeypatch.setattr("sys.argv", ["xcore", "bench", *words])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert capsys.readouterr().err == f"xcore: {new}\n"


def test_help_shows_no_old_flag(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["xcore", "bench", "--help"])
    with pytest.raises(SystemExit):
        main()
    shown = capsys.readouterr().out
    assert "--controls" in shown
    assert "--baselines" not in shown
