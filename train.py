"""Train a model: python train.py --config=configs/motion.py --workdir=runs/motion [--config.field=value …].

The same command runs on one device, on all of a machine, and, started on each of them, on many machines; how these
find each other is in `configs/launch/`.
"""

import sys

from vidjax.apps.train_command import main

if __name__ == "__main__":
    main(sys.argv)
