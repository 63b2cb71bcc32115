"""``python -m rescrnet``."""

from rescrnet.cli import main

if __name__ == "__main__":
    main()
