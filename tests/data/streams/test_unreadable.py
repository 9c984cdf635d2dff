"""Records that cannot be read: found, named, and left out on request."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from data.records.examples import labeled_example
from data.records.shards import count_records, offset_of, write_shard
from data.streams import unreadable
from data.streams.evaluation import count_labels, evaluation_stream
from data.streams.reading import count_up_to, unreadable_records
from runtime.errors import UserError

GOOD = tf.io.encode_png(np.zeros([16, 16, 3], np.uint8)).numpy()


def write(path, images):
    write_shard(str(path), [labeled_example(image, label + 1) for label, image in enumerate(images)])
    return str(path)


def test_scan_finds_images_that_cannot_be_decoded_and_files_cut_short(tmp_path):
    good = write(tmp_path / "good", [GOOD] * 3)
    bad = write(tmp_path / "bad", [GOOD, b"no image", GOOD, b""])
    cut = write(tmp_path / "cut", [GOOD] * 3)
    with open(cut, "r+b") as file:
        file.truncate(offset_of(cut, 2) + 20)
    found = unreadable.scan([good, bad, cut])
    assert found == [unreadable.Unreadable(bad, (1, 3), None), unreadable.Unreadable(cut, (), 2)]
    assert unreadable.describe(found) == (
        "--skip_corrupt_records leaves out 2 images that cannot be decoded and the rest of 1 corrupt shard, "
        f"the first in {bad}: record 1"
    )


def test_records_are_counted_up_to_where_a_file_is_cut(tmp_path):
    whole, cut = (write(tmp_path / name, [GOOD] * 5) for name in ("whole", "cut"))
    with open(cut, "r+b") as file:
        file.truncate(offset_of(cut, 3) + 20)
    assert [offset_of(whole, number) for number in (0, 5)] == [0, (tmp_path / "whole").stat().st_size]
    assert count_records(whole) == 5
    with pytest.raises(UserError, match=r"cut: record 3 at byte \d+ is truncated or corrupt"):
        count_records(cut)
    files = [cut, whole, str(tmp_path / "nowhere")]
    assert [count_up_to(enough, files) for enough in (2, 3, 7, 100)] == [2, 3, 7, 8]


def test_a_file_that_is_gone_is_said(tmp_path):
    with pytest.raises(UserError, match="nothing: the file is gone; put it back and run the same command again"):
        unreadable.scan([str(tmp_path / "nothing")])


def test_the_evaluation_stream_leaves_them_out_and_counts_the_rest(tmp_path, capsys):
    files = [write(tmp_path / "one", [GOOD, b"no image", GOOD]), write(tmp_path / "two", [GOOD] * 2)]
    skipped = unreadable_records(files, skip=True)
    assert "leaves out 1 images" in capsys.readouterr().out
    for replicas in (1, 2):
        batches = list(evaluation_stream(files, 10, 16, True, 2, replicas, skipped=skipped))
        assert sum(float(tf.reduce_sum(batch["weight"])) for batch in batches) == 4
    assert sum(count_labels(files, 10, skipped)) == 4
    assert unreadable_records(files, skip=False) == []
