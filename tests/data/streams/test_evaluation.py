"""How many images an evaluation counts, for any number of replicas and pipelines."""

from __future__ import annotations

import pytest

from data.prepare import run
from data.prepare.config import PrepareConfig
from data.records.shards import find_shards
from data.streams.evaluation import evaluation_stream
from runtime import workers


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("digits"))
    run.prepare(PrepareConfig("digits", folder, 20, num_test_images=21, num_shards=1))
    return find_shards(f"{folder}/labeled", "test-*", "label_data_dir")


def counted(files, replicas, pipelines, limit):
    """(images counted, batches) over all pipelines."""
    images = batches = 0
    for index in range(pipelines):
        pipeline = workers.Pipeline(index, pipelines)
        stream = evaluation_stream(files, 10, 16, True, 4, replicas, pipeline, limit)
        for batch in stream.as_numpy_iterator():
            assert batch["image"].shape == (4, 16, 16, 3)
            images += int(batch["weight"].sum())
            batches += 1
    return images, batches


@pytest.mark.parametrize(("replicas", "pipelines"), [(1, 1), (2, 1), (4, 2)])
@pytest.mark.parametrize(("limit", "expected"), [(None, 21), (10, 10), (500, 21)])
def test_every_image_counts_once_up_to_the_limit(files, replicas, pipelines, limit, expected):
    images, batches = counted(files, replicas, pipelines, limit)
    assert images == expected
    assert batches == replicas * -(-expected // (4 * replicas))
