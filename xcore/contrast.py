"""Random sets that are rendered like a concept's samples.

A contrast of crisp data-set images lets a CAV separate a concept by blur, scale or black pixels, and the score then
speaks of the medium. So contrast images are cropped, masked or generated exactly as the concept's samples were.
"""

from __future__ import annotations

NULL = 1000
"""Sets with an index below are negatives; from here on they are counterparts of a concept, for a null."""
