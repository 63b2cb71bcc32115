"""``python -m tests.attack``."""

from tests.attack.campaign import main

if __name__ == "__main__":
    main()
