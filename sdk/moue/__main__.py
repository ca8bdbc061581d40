"""`python -m moue` is the command `moue`."""

import sys

from moue.cli import main

sys.exit(main())
