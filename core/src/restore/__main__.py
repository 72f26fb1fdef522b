"""``python -m restore`` is the command ``restore``; torchrun starts it so."""

from restore.cli.main import main

if __name__ == "__main__":
    main()
