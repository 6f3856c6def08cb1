"""Everything that tests compile is verified after every pass, in their own processes too."""

from __future__ import annotations

import os

os.environ.setdefault("SYMC_VERIFY", "1")
