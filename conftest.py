"""What holds for all tests: no network, one thread, and a cache of their own. Set before anything imports torch."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import tempfile

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # tests are small: more threads than one make them slower
for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
    os.environ.setdefault(name, "1")  # a network that answers would hide a missing file
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

if "XCORE_CACHE" not in os.environ:
    os.environ["XCORE_CACHE"] = tempfile.mkdtemp(prefix="xcore-cache-")
    atexit.register(shutil.rmtree, os.environ["XCORE_CACHE"], ignore_errors=True)

# What tests write need not outlive a power cut, and small runs would mostly wait for the disk.
os.fsync = lambda handle: None

gc.disable()  # nothing of what is imported and collected is garbage, and there are a million objects of it


def pytest_collection_finish() -> None:
    """From here on garbage is looked for, but not among what was collected."""
    gc.freeze()
    gc.enable()
