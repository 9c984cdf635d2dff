from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from data.records import batches
from data.records.batches import read_soft_labels
from data.records.examples import PROBABILITIES, prediction_example
from data.records.shards import write_shard
from runtime.errors import UserError


def softmaxes(number: int, classes: int) -> np.ndarray:
    return np.random.default_rng(classes).dirichlet(np.ones(classes), number).astype(np.float32)


def write(folder: Path, rows: np.ndarray, top_k: int = 0) -> str:
    path = f"{folder}/train-info-00000-of-00001-00000"
    write_shard(path, (prediction_example(row, top_k) for row in rows))
    return path


@pytest.mark.parametrize("classes", [1, 2, 10, 300])
@pytest.mark.parametrize("batch", [1, 7, 50, 1000])
def test_rows_are_those_that_were_written(tmp_path, classes, batch):
    rows = softmaxes(50, classes)
    read = list(read_soft_labels(write(tmp_path, rows), batch, classes))
    assert [len(part) for part in read] == [len(rows[at : at + batch]) for at in range(0, len(rows), batch)]
    assert np.concatenate(read).tobytes() == rows.tobytes()
    assert np.concatenate(read).dtype == np.float32


def test_usual_records_are_not_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "_parse", lambda path, *_: pytest.fail(f"{path} is parsed"))
    rows = softmaxes(20, 300)
    rows[np.arange(4), [0, 127, 128, 299]] = 1.0  # labels of one byte and of two
    assert np.concatenate(list(read_soft_labels(write(tmp_path, rows), 8, 300))).tobytes() == rows.tobytes()


def serialized(*features: tf.train.Features) -> bytes:
    """An Example whose features stand in this order."""
    content = b"".join(one.SerializeToString() for one in features)
    return tf.train.BytesList(value=[content]).SerializeToString()


def probabilities(row: np.ndarray) -> tf.train.Features:
    feature = tf.train.Feature(float_list=tf.train.FloatList(value=row))
    return tf.train.Features(feature={PROBABILITIES: feature})


def other_floats(name: str, row: np.ndarray) -> tf.train.Features:
    return tf.train.Features(feature={name: tf.train.Feature(float_list=tf.train.FloatList(value=row))})


OTHER_LAYOUTS = {
    "probabilities first": lambda row: serialized(probabilities(row), other_floats("logits", row)),
    "probabilities twice": lambda row: serialized(probabilities(row + 1), probabilities(row)),
    "one number more behind them": lambda row: serialized(probabilities(row), other_floats("a", row[:1])),
    "another head each": lambda row: serialized(other_floats("logits", row), probabilities(row)),
}


@pytest.mark.parametrize("layout", OTHER_LAYOUTS)
def test_records_of_another_layout_are_read_all_the_same(tmp_path, layout):
    rows = softmaxes(9, 10)
    path = f"{tmp_path}/shard"
    write_shard(path, map(OTHER_LAYOUTS[layout], rows))
    assert np.concatenate(list(read_soft_labels(path, 4, 10))).tobytes() == rows.tobytes()
    write_shard(path, [*map(prediction_example, rows[:5]), *map(OTHER_LAYOUTS[layout], rows[5:])])
    assert np.concatenate(list(read_soft_labels(path, 4, 10))).tobytes() == rows.tobytes()


def test_sparse_labels_stay_sparse(tmp_path):
    sparse = np.concatenate(list(read_soft_labels(write(tmp_path, softmaxes(9, 200), top_k=2), 4, 200)))
    assert sparse.dtype == np.uint8
    assert sparse.shape == (9, 12)


def test_no_byte_may_change(tmp_path):
    path = Path(write(tmp_path, softmaxes(3, 2)))
    content = path.read_bytes()
    size = len(content) // 3
    for place in range(size, 2 * size):
        for bit in (1, 128):
            changed = bytearray(content)
            changed[place] ^= bit
            path.write_bytes(changed)
            for batch in (1, 3):
                with pytest.raises(UserError, match=r"-00000: record 1 is truncated or corrupt; write the file again"):
                    list(read_soft_labels(str(path), batch, 2))


def test_errors_name_the_record_after_those_that_were_read(tmp_path):
    path = Path(write(tmp_path, softmaxes(20, 10)))
    content = bytearray(path.read_bytes())
    size = len(content) // 20
    content[13 * size + 30] ^= 4
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"-00000: record 13 is truncated or corrupt; write the file again"):
        list(read_soft_labels(str(path), 4, 10))
    path.write_bytes(content[: 9 * size + 50])
    with pytest.raises(UserError, match=r"-00000: record 9 is truncated or corrupt; write the file again"):
        list(read_soft_labels(str(path), 4, 10))
    with pytest.raises(UserError, match=r"nowhere: record 0 cannot be read: "):
        list(read_soft_labels(f"{tmp_path}/nowhere", 4, 10))


@pytest.mark.parametrize(("written", "expected"), [(2, 3), (3, 2), (11, 10), (300, 2)])
def test_another_number_of_classes_is_named(tmp_path, written, expected):
    path = write(tmp_path, softmaxes(5, written))
    with pytest.raises(UserError, match=rf"record 0: got {written} values of 'probabilities', expected {expected}; is"):
        list(read_soft_labels(path, 4, expected))


def test_an_empty_shard(tmp_path):
    assert list(read_soft_labels(write(tmp_path, softmaxes(0, 10)), 4, 10)) == []
