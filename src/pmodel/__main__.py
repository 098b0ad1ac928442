"""``python -m pmodel`` is the command ``pmodel``."""

from .cli import main

if __name__ == "__main__":
    main()
