"""`python -m medi_core` → cli.main."""

import sys

from medi_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
