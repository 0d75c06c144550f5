"""What tests of models share."""

import pytest

from vidjax.nn.conv import conv_formulation


@pytest.fixture
def plain_convolutions():
    """XLA's own 3D convolution. For small maps on a CPU the library writes a 7×7×7 kernel as hundreds of slices, which
    take longer to compile than a test may last."""
    with conv_formulation("native"):
        yield
