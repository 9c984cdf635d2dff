"""docs/own_pictures.ipynb runs from its first cell to its last, on the digits as PNG files, with few steps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.more
@pytest.mark.timeout(900)
def test_the_notebook_leads_from_a_folder_to_a_classified_picture(tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.setenv("NOTEBOOK_FOLDER", str(tmp_path))
    monkeypatch.setenv(
        "NOTEBOOK_FLAGS",
        "--train_steps=20 --width_coefficient=0.2 --depth_coefficient=0.2 --min_threshold=0 --use_tpu=False",
    )
    book = nbformat.read(os.path.join(ROOT, "docs", "own_pictures.ipynb"), as_version=4)
    assert not any(cell.get("outputs") for cell in book.cells), "the notebook is kept without outputs"
    nbclient.NotebookClient(book, timeout=800, resources={"metadata": {"path": str(ROOT)}}).execute()
    printed = "".join(output.get("text", "") for cell in book.cells for output in cell.get("outputs", []))
    assert "--width_coefficient" in printed or "report:" in printed
    assert (tmp_path / "run" / "report" / "report.md").exists()
    last = "".join(output.get("text", "") for output in book.cells[-1].outputs)
    assert ".png" in last
