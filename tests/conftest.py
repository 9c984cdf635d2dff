from __future__ import annotations

import os

os.environ.setdefault("NOISY_STUDENT_PROGRESS", "off")
