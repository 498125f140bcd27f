"""Import path with the toy model."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
