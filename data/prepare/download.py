"""Fetches one file over HTTP: shows progress, continues after a break, and gives the file its name only when it is whole."""

from __future__ import annotations

import http.client
import os
import urllib.request
from typing import Optional

from runtime.errors import UserError
from runtime.progress import progress

BLOCK = 1 << 20
SECONDS = 60


def fetch(url: str, path: str) -> None:
    """Downloads `url` to the local file `path`; does nothing where it exists. What a broken download left is taken up.

    Raises:
      UserError: the address cannot be reached or gives another number of bytes than it announced.
    """
    if os.path.exists(path):
        return
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    partial = f"{path}.writing-download"
    try:
        expected = _fetch(url, partial)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = str(getattr(error, "reason", "") or error).strip() or type(error).__name__
        raise UserError(
            f"--download: cannot fetch {url}: {reason}; run the same command again, or put the file at {path} yourself"
        ) from error
    size = os.path.getsize(partial)
    if expected is not None and size != expected:
        raise UserError(
            f"--download: {url} ended after {size:,} of {expected:,} bytes; run the same command again, it goes on there"
        )
    os.replace(partial, path)


def _fetch(url: str, partial: str) -> Optional[int]:
    """Appends to the partial file what is missing; returns how long the whole is, None where the server does not say."""
    begin = os.path.getsize(partial) if os.path.exists(partial) else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={begin}-"} if begin else {})
    try:
        response = urllib.request.urlopen(request, timeout=SECONDS)
    except urllib.error.HTTPError as error:
        total = (error.headers.get("Content-Range") or "").rpartition("/")[2]
        if error.code == 416 and total == str(begin):  # nothing is missing
            return begin
        raise
    with response:
        if response.status != 206:
            begin = 0
        length = response.headers.get("Content-Length")
        expected = begin + int(length) if length else None
        with (
            open(partial, "ab" if begin else "wb") as file,
            progress(f"downloading {os.path.basename(url)}", expected, "bytes", begin) as bar,
        ):
            while True:
                block = response.read(BLOCK)
                if not block:
                    return expected
                file.write(block)
                bar.update(len(block))
