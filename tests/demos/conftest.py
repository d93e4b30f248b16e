"""What the tests of every demo's page share."""

from __future__ import annotations

import pytest

from labkit import serving
from tests.served import browser, free_port


@pytest.fixture(scope="module")
def port(demo):
    """Where the `demo` of the test's own module is served."""
    port = free_port()
    serving.launch(demo, port, ())
    yield port
    demo.close(verbose=False)


@pytest.fixture
def page(tmp_path):
    """A page of a browser as narrow as a phone."""
    with browser(tmp_path / "profile", viewport={"width": 390, "height": 844}) as context:
        yield context.new_page()
