"""Write a capture of any size, the same for the same seed: python scripts/make_large_capture.py OUT [BYTES] [SEED]."""

from __future__ import annotations

import sys
from pathlib import Path

from skep.testing.captures import write_capture


def main() -> None:
    words = sys.argv[1:]
    if not 1 <= len(words) <= 3:
        sys.exit(__doc__)
    out, size, seed = (
        Path(words[0]),
        int(words[1]) if len(words) > 1 else 1 << 30,
        int(words[2]) if len(words) > 2 else 1,
    )
    count = write_capture(out, size, seed)
    print(f"{count} packets, {out.stat().st_size} bytes in {out}")


if __name__ == "__main__":
    main()
