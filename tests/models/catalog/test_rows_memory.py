"""farlane.models.catalog on rows in memory."""

from __future__ import annotations

import pytest

from farlane.models.catalog.rows import Rows
from farlane.models.catalog.rows_memory import MemoryRows
from farlane.testing.catalog_suite import CatalogSuite


class TestMemoryCatalog(CatalogSuite):
    @pytest.fixture
    def rows(self) -> Rows:
        return MemoryRows()
