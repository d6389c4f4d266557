"""Books that are closed when a test has ended."""

from collections.abc import Iterator

import pytest

from esfsm.standins.panda.books import Books


@pytest.fixture
def books() -> Iterator[Books]:
    books = Books()
    yield books
    books.close()
