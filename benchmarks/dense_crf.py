"""Dense CRF: ours in torch against pydensecrf2, in the same run, on one synthetic street scene.

python benchmarks/dense_crf.py --threads 2 --json dense_crf.json

Both do the same number of steps with the same weights and standard deviations. pydensecrf takes part where it is
installed (`pip install "cityseg_ext[crf]"`); it works in one thread. With --exact, both are compared with the sums over
all pairs of pixels, on the scene reduced to 72x96 pixels.
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "tests")]
