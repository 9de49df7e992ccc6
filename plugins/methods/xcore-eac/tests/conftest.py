"""What several tests of EAC share."""

import pytest
import torch

from xcore.contract import Samples


@pytest.fixture(scope="session")
def pictures():
    """(n, size, seed) -> n images of uniform noise."""

    def make(n=4, size=(32, 32), seed=0):
        images = torch.rand(n, 3, *size, generator=torch.Generator().manual_seed(seed))
        return Samples("image", images, tuple(f"made/{i}" for i in range(n)))

    return make
