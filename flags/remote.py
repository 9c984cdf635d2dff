"""Whether Google Cloud Storage answers at all, asked before anything waits for it: TensorFlow would try again for minutes."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from typing import Any, Optional

from absl.flags import FlagValues

from runtime.errors import UserError

SCHEME = "gs://"
HOST = ("storage.googleapis.com", 443)
SECONDS = 10
# With one of these TensorFlow reaches the storage by another way than a direct connection.
OTHER_WAYS = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "CLOUD_STORAGE_TESTBENCH_ENDPOINT")


def check_reachable(
    values: FlagValues,
    connect: Callable[..., Any] = socket.create_connection,
    environment: Mapping[str, str] = os.environ,
) -> None:
    """Tries one connection if any flag names a gs:// path.

    Raises:
      UserError: there is no way to the storage from here; names the flag.
    """
    found = _first_remote(values)
    if found is None or any(environment.get(name) for name in OTHER_WAYS):
        return
    flag, path = found
    try:
        connect(HOST, timeout=SECONDS).close()
    except OSError as error:
        raise UserError(
            f"--{flag}: cannot reach {path}: no connection to {HOST[0]} within {SECONDS} s ({error.strerror or error}); check "
            "the network, or use a local folder"
        ) from error


def _first_remote(values: FlagValues) -> Optional[tuple[str, str]]:
    for name in values:
        given = values[name].value
        for text in given if isinstance(given, list) else [given]:
            if isinstance(text, str) and SCHEME in text:
                return name, text
    return None
