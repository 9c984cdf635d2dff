"""The check that Google Cloud Storage answers; no network is used."""

from __future__ import annotations

import pytest

from flags import remote
from runtime.errors import UserError
from tests.flags.parsing import parsed


def test_local_paths_connect_to_nothing():
    def connect(*_, **__):
        raise AssertionError

    remote.check_reachable(parsed("--model_dir=/local", "--data_dir=data"), connect, {})
    remote.check_reachable(parsed("--model_dir=gs://bucket/x"), connect, {"HTTPS_PROXY": "http://proxy"})


def test_a_storage_out_of_reach_names_the_flag_and_the_path():
    def refuse(*_, **__):
        raise OSError(101, "Network is unreachable")

    expected = (
        r"^--label_data_dir: cannot reach a;gs://bucket/x: no connection to storage.googleapis.com within 10 s "
        r"\(Network is unreachable\); check the network, or use a local folder$"
    )
    with pytest.raises(UserError, match=expected):
        remote.check_reachable(parsed("--label_data_dir=a;gs://bucket/x"), refuse, {})
    with pytest.raises(UserError, match=r"^--input_files: cannot reach gs://b/one.jpg"):
        remote.check_reachable(parsed("--input_files=here.jpg", "--input_files=gs://b/one.jpg"), refuse, {})


def test_a_storage_that_answers_is_asked_once_and_let_go():
    asked = []

    def connect(host, timeout):
        asked.append((host, timeout))
        return open(__file__)

    remote.check_reachable(parsed("--model_dir=gs://bucket/x", "--data_dir=gs://bucket/y"), connect, {})
    assert asked == [(("storage.googleapis.com", 443), 10)]
