"""`python -m assets.run CONFIG`: the same as `latentlake run CONFIG`."""

import sys

from assets.command import main

sys.argv.insert(1, "run")
main()
