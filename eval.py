"""Evaluate a trained model: python eval.py --workdir=runs/motion [--config.eval.num_clips=10
--config.eval.num_crops=3 …].

The config is the one stored with the checkpoint; flags override single fields of it. What differs from the run's own
result is written beside it: runs/motion/eval_10x3.
"""

import sys

from vidjax.apps.evaluate_command import main

if __name__ == "__main__":
    main(sys.argv)
