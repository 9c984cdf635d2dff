from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.records import batches
from data.records.batches import read_soft_labels
from data.records.examples import prediction_example
from data.records.shards import write_shard
from pseudo_label.balance.framed import MAX_CLASSES, frame_size, framed_rows
from runtime.errors import UserError


def softmaxes(number: int, classes: int) -> np.ndarray:
    return np.random.default_rng(classes).dirichlet(np.ones(classes), number).astype(np.float32)


def write(folder: Path, rows: np.ndarray, top_k: int = 0) -> str:
    path = f"{folder}/train-info-00000-of-00001-00000"
    write_shard(path, (prediction_example(row, top_k) for row in rows))
    return path


@pytest.mark.parametrize("classes", [1, 2, 10, MAX_CLASSES])
@pytest.mark.parametrize("batch", [1, 7, 50, 1000])
def test_rows_are_those_that_were_written(tmp_path, classes, batch):
    rows = softmaxes(50, classes)
    read = list(framed_rows(write(tmp_path, rows), batch, classes))
    assert [len(part) for part in read] == [len(rows[at : at + batch]) for at in range(0, len(rows), batch)]
    assert np.concatenate(read).tobytes() == rows.tobytes()
    assert np.concatenate(read).dtype == np.float32


def test_no_byte_may_change(tmp_path):
    rows = softmaxes(3, 2)
    path = Path(write(tmp_path, rows))
    content = path.read_bytes()
    for place in range(frame_size(2), 2 * frame_size(2)):
        for bit in (1, 128):
            changed = bytearray(content)
            changed[place] ^= bit
            path.write_bytes(changed)
            assert len(np.concatenate(list(framed_rows(str(path), 1, 2)))) == 1
            assert list(framed_rows(str(path), 3, 2)) == []


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_what_is_unusual_is_read_all_the_same(tmp_path, batch, monkeypatch):
    """A label of two bytes, from record 6 on: the slow reader takes over there, and at once in a shard of sparse labels."""
    monkeypatch.setattr("pseudo_label.balance.framed.MAX_CLASSES", 200)
    rows = softmaxes(9, 200)
    rows[np.arange(9), [0, 5, 127, 3, 4, 5, 130, 199, 1]] = 1.0
    path = write(tmp_path, rows)
    assert sum(map(len, framed_rows(path, batch, 200))) == (6 // batch * batch)
    read = list(read_soft_labels(path, batch, 200))
    assert [len(part) for part in read] == [len(rows[at : at + batch]) for at in range(0, len(rows), batch)]
    assert np.concatenate(read).tobytes() == rows.tobytes()

    sparse = np.concatenate(list(read_soft_labels(write(tmp_path, rows, top_k=2), batch, 200)))
    assert sparse.dtype == np.uint8
    assert sparse.shape == (9, 12)


def test_usual_shards_are_read_once(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "_tfrecord_iterator", lambda path: pytest.fail(f"{path} is read again"))
    assert sum(map(len, read_soft_labels(write(tmp_path, softmaxes(20, 10)), 8, 10))) == 20


def test_errors_name_the_record_after_those_that_were_read(tmp_path):
    path = Path(write(tmp_path, softmaxes(20, 10)))
    content = bytearray(path.read_bytes())
    content[13 * frame_size(10) + 30] ^= 4
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"-00000: record 13 is truncated or corrupt; write the file again"):
        list(read_soft_labels(str(path), 4, 10))
    path.write_bytes(path.read_bytes()[: 9 * frame_size(10) + 50])
    with pytest.raises(UserError, match=r"-00000: record 9 is truncated or corrupt; write the file again"):
        list(read_soft_labels(str(path), 4, 10))
    with pytest.raises(UserError, match=r"nowhere: record 0 cannot be read: "):
        list(read_soft_labels(f"{tmp_path}/nowhere", 4, 10))


def test_an_empty_shard(tmp_path):
    assert list(read_soft_labels(write(tmp_path, softmaxes(0, 10)), 4, 10)) == []
