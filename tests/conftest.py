"""Everything that tests compile is verified after every pass, in their own processes too."""

from __future__ import annotations

import os

os.environ.setdefault("SYMC_VERIFY", "1")

#: .sir files with a RUN line are tests
pytest_plugins = ["symc.debug.pytest_plugin"]
