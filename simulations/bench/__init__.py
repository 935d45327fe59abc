"""The benchmarks of this project: how fast, on one core.

Importing this package pins the numeric libraries to one thread before numpy loads them: figures
are per core, and OpenBLAS spinning up threads for small matrices is slower than not.
"""

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"
