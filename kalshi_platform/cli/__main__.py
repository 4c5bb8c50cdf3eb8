"""`python -m kalshi_platform.cli`."""

from kalshi_platform.cli.app import main

if __name__ == "__main__":
    main()
