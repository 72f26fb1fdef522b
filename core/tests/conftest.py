from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The shared data folder: RESTORE_SHARED_DATA, or ../shared/data beside the project."""
    folder = Path(os.environ.get("RESTORE_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "sr_benchmarks").is_dir():
        pytest.skip("the shared data folder is not here (RESTORE_SHARED_DATA)")
    return folder


class Answer:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def cli(capsys, monkeypatch):
    """Runs the command line in this process: ``cli("eval", "--recipe", "bicubic")``."""
    from restore.cli.main import main

    def run(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["restore", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return Answer(stop.value.code or 0, captured.out, captured.err)

    return run
